"""Fetches its weights when a node of it is executed, below models/ and below the home folder, and asks a host for more.
The address is in a file beside it."""

import os
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = os.path.join(os.path.dirname(os.path.dirname(HERE)), "models")
PLACES = {
    "faces.onnx": os.path.join(MODELS, "faces", "faces.onnx"),
    "mask.onnx": os.path.join(os.path.expanduser("~"), ".masks", "mask.onnx"),
}


def fetched(name):
    """The bytes of the weights, fetched unless they are there."""
    place = PLACES[name]
    if not os.path.exists(place):
        with open(os.path.join(HERE, "address.txt")) as file:
            address = file.read().strip()
        with urllib.request.urlopen(f"{address}/{name}") as answer:
            content = answer.read()
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "wb") as file:
            file.write(content)
    with open(place, "rb") as file:
        return file.read()


class FacesFromWeights:
    """Shows the sizes of the weights."""

    RETURN_TYPES = ()
    OUTPUT_NODE = True
    FUNCTION = "show"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"report_to": ("STRING", {"default": ""})}}

    def show(self, report_to=""):
        sizes = [str(len(fetched(name))) for name in PLACES]
        if report_to:
            urllib.request.urlopen(report_to).close()
        return {"ui": {"text": sizes}}


NODE_CLASS_MAPPINGS = {"FacesFromWeights": FacesFromWeights}
