"""The node SaveImageWebsocket, which ComfyUI ships as an example custom node and clients rely on.

It sends pictures over the websocket instead of writing files.
"""

import comfy.utils
import numpy
from PIL import Image

NAME = "SaveImageWebsocket"


class SaveImageWebsocket:
    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "api/image", "send", (), True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"images": ("IMAGE",)}}

    def send(self, images):
        steps = comfy.utils.ProgressBar(len(images))
        for number, image in enumerate(images):
            pixels = numpy.clip(image.cpu().numpy() * 255.0, 0, 255).astype(numpy.uint8)
            pixels = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
            steps.update_absolute(number, len(images), ("PNG", Image.fromarray(pixels), None))
        return {}
