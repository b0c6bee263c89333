"""A tour of comfy-sdk, from an asset to a cancellation, with the real SDK and the real ComfyUI."""

import json
from pathlib import Path

from PIL import Image

from tests.stack.clients.conftest import RunProgram
from tests.stack.graphs import text_to_image
from tests.stack.stack import Client, Stack


def test_a_tour(real: Stack, client: Client, run_python: RunProgram, tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), "red").save(tmp_path / 'a "strange" näme.png')
    graph = text_to_image(lora="house-tiny-lora.safetensors")
    graph["checkpoint"]["inputs"]["ckpt_name"] = "house-tiny-sd15.safetensors"
    graph["sampler"]["inputs"]["steps"] = 20
    (tmp_path / "graph.json").write_text(json.dumps(graph))

    found = run_python(
        "comfy_sdk_tour.py",
        str(tmp_path / 'a "strange" näme.png'),
        str(tmp_path / "graph.json"),
        COMFY_BASE_URL=real.url,
        COMFY_API_KEY=client.key,
    )

    assert found == {
        "same_asset": True,
        "events": ["OutputReady", "Preview", "Progress", "StatusChange"],
        "last_event": "StatusChange",
        "range": "PNG",
        "size_is_right": True,
        "workflow_format": "api",
        "listed": [True],
        "not_listed": [],
        "an_asset_is_an_input": "succeeded",
        "an_output_is_an_input": "succeeded",
        "cancelled": "canceled",
        "deleted": ["NotFound", "not_found", True],
        "unknown_node": ["InvalidWorkflow", "invalid_workflow", True],
        "bad_label": ["ComfyError", "metadata_invalid", True],
    }
