"""comfy-sdk against Comfy API v2: assets by content and by hash, labels, events, ranges, list, cancel, delete.

`comfy_sdk_tour.py PICTURE GRAPH`: the graph samples long enough for previews; its node "save" saves.
"""

import io
import json
import sys
from pathlib import Path

from comfy_sdk import Comfy
from comfy_sdk.events import Progress
from comfy_sdk.exceptions import ComfyError

picture, sampling = sys.argv[1:]
copy = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "replaced"}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "tour"}},
}
slow = {
    "1": {"class_type": "TestSteps", "inputs": {"steps": 2000}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "slow"}},
}
found = {}
with Comfy() as client:
    asset = client.assets.from_file(picture)
    again = client.assets.from_file(picture)
    found["same_asset"] = asset.commit() == again.commit() and again.created_new is False

    before = client.submit(client.workflows.from_json(slow))  # keeps the worker until somebody listens to what follows
    job = client.submit(client.workflows.from_file(sampling), metadata={"client": "acme", "order": "7"})
    kinds = []
    for event in job.events():
        if not kinds:
            before.cancel()
        kinds.append(type(event).__name__)
    found["events"] = sorted(set(kinds))
    found["last_event"] = kinds[-1]
    [output] = job.wait().get_outputs("save")
    data = output.to_bytes()
    part = io.BytesIO()
    output.to_stream(part, range=(1, 3))
    found["range"] = part.getvalue().decode()
    found["size_is_right"] = output.size_bytes == len(data)
    found["workflow_format"] = job.get_workflow().format
    found["listed"] = [each.id == job.id for each in client.list_jobs(metadata={"client": "acme", "order": "7"})]
    found["not_listed"] = [each.id for each in client.list_jobs(metadata={"client": "acme", "order": "8"})]

    workflow = client.workflows.from_json(copy)
    workflow.set_input("1", "image", asset)
    found["an_asset_is_an_input"] = client.run(workflow).status
    workflow = client.workflows.from_json(copy)
    workflow.set_input("1", "image", client.assets.get(output.id))
    found["an_output_is_an_input"] = client.run(workflow).status

    job = client.submit(client.workflows.from_json(slow))
    for event in job.events():
        if isinstance(event, Progress):
            job.cancel()
            break
    statuses = [event.status for event in job.events() if hasattr(event, "status")]
    found["cancelled"] = statuses[-1]

    client.assets.delete(asset.id)
    for name, call in (
        ("deleted", lambda: client.assets.get(asset.id)),
        ("unknown_node", lambda: client.submit(client.workflows.from_json({"1": {"class_type": "X", "inputs": {}}}))),
        ("bad_label", lambda: client.submit(client.workflows.from_json(copy), metadata={"no good": "x"})),
    ):
        try:
            call()
        except ComfyError as error:
            found[name] = [type(error).__name__, error.code, bool(error.request_id)]

assert Path(picture).exists()
sys.stdout.write(json.dumps(found) + "\n")
