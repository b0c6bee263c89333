"""comfy-script against ComfyUI's own API: a graph written as Python, its picture as a PIL image."""

import json
import sys

import tqdm.auto  # noqa: F401  its thread imports this before it listens, for which a new environment takes a second
from comfy_script.runtime import load

load(sys.argv[1])
from comfy_script.runtime import Workflow  # noqa: E402
from comfy_script.runtime.nodes import EmptyImage, SaveImage  # noqa: E402

with Workflow(wait=True):
    picture = SaveImage(EmptyImage(24, 16, 1, 255), "script")

[image] = picture.wait()
sys.stdout.write(json.dumps({"size": image.size, "pixel": image.getpixel((0, 0))}) + "\n")
