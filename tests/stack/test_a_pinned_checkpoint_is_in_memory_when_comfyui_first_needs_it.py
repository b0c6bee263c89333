"""With the real ComfyUI: an uploaded checkpoint that is pinned lies in memory before its first run, which uses it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.stack.graphs import text_to_image
from tests.stack.stack import Client
from tests.stack.waiting import until

pytestmark = pytest.mark.engine

NAME = "pinned-tiny-sd15.safetensors"


def held(client: Client) -> list[dict[str, Any]]:
    """What the worker's host keeps of the checkpoint."""
    found = client.http.get("/api/v1/model-memory").raise_for_status().json()
    return [each for worker in found for each in worker["models"] if each["model"] == f"checkpoints/{NAME}"]


def test_it_is_there_before_and_after_its_run(client: Client, tiny_models_dir: Path) -> None:
    data = (tiny_models_dir / "one" / "tiny-sd15.safetensors").read_bytes()
    path = {"path": f"/models/checkpoints/{NAME}"}
    client.http.post("/api/v1/files", params=path, content=data).raise_for_status()

    wanted = {"model": f"checkpoints/{NAME}", "accelerator": "CPU"}
    (pin,) = client.http.post("/api/v1/model-pins", json=wanted).raise_for_status().json()

    until(lambda seen: [each["resident"] for each in seen] == [len(data)], lambda: held(client))
    graph = text_to_image(lora="house-tiny-lora.safetensors")
    graph["checkpoint"]["inputs"]["ckpt_name"] = NAME
    run = client.run(graph)
    assert run["status"] == "COMPLETED", run["error"]
    until(
        lambda seen: [(each["pinned"], each["resident"]) for each in seen] == [(True, len(data))], lambda: held(client)
    )
    client.http.delete(f"/api/v1/model-pins/{pin['id']}").raise_for_status()
    client.http.delete("/api/v1/files", params=path).raise_for_status()
