"""comfy-toolkit against ComfyUI's own API: follows a run by websocket, gets its picture, and what a refusal says."""

import json
import sys

from comfy_toolkit import ComfyClient
from comfy_toolkit.errors import ComfySubmitError

client = ComfyClient(sys.argv[1])
graph = {
    "1": {"class_type": "TestSteps", "inputs": {"steps": 13}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "toolkit"}},
}
steps = []
done = client.submit_and_track(graph, on_progress=lambda value, maximum: steps.append((value, maximum)))
[image] = done["images"]
try:
    client.submit({"2": {"class_type": "SaveImage", "inputs": {"filename_prefix": "toolkit"}}})
    refusal = ""
except ComfySubmitError as error:
    refusal = str(error)
found = {
    "last step": steps[-1] if steps else None,
    "name": image["filename"],
    "png": client.download(image).startswith(b"\x89PNG"),
    "refusal": "Required input is missing: images" in refusal,
}
sys.stdout.write(json.dumps(found) + "\n")
