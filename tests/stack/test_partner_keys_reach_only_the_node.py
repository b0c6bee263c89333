"""A partner node's key in `extra_data` reaches the node, and is neither stored nor shown."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from tests.stack.graphs import node
from tests.stack.stack import Client, Stack

pytestmark = [pytest.mark.engine, pytest.mark.several_servers]

SECRET = {"api_key_comfy_org": "partner-key"}
GRAPH = {"1": node("TestSecret")}


def test_through_each_api(real: Stack, client: Client) -> None:
    v2 = client.http.post("/api/v2/jobs", json={"workflow": GRAPH, "extra_data": SECRET}).json()["id"]
    native = client.http.post(
        "/comfy/prompt", json={"prompt": GRAPH, "extra_data": {**SECRET, "kept": 1}, "prompt_id": str(uuid.uuid4())}
    ).json()["prompt_id"]
    client.run(GRAPH, extra_data=SECRET)

    runs = client.http.get("/api/v1/runs", params={"limit": 3}).json()
    done = [client.finish(run["id"]) for run in runs]

    assert {v2, native} < {run["prompt_id"] for run in done}
    assert [run["output"][0]["text"] for run in done] == ["given: True"] * 3
    for run in done:
        assert "partner-key" not in client.http.get(f"/api/v1/runs/{run['id']}").text
    assert "partner-key" not in client.http.get(f"/comfy/history/{native}").text
    assert client.http.get(f"/comfy/history/{native}").json()[native]["prompt"][3]["kept"] == 1
    for path in Path(real.data_dir).glob("comfyward.db*"):
        assert b"partner-key" not in path.read_bytes()
