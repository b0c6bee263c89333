"""A run is taken before a worker has told what is installed, and fails for a model. Until then pages say that this is
not known; then its page lists the model, with where it comes from, and fetches it by one button."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from comfyward.wording import size
from tests.attacks.raw_worker import RawWorker, catalog_of, token_for
from tests.fakes.model_sites import Hub, hugging_face
from tests.stack.conftest import StartFake
from tests.stack.editor_files import node
from tests.stack.stack import Client, Stack
from tests.stack.web.accessibility import LOOK, axe_in, serious
from tests.stack.web.conftest import Enter

NAME = "sea.safetensors"
MODEL = b"\x02" + bytes(7) + b"{}" + bytes(4000)  # a safetensors with an empty header
NODES = {
    "LoadLora": {"input": {"required": {"lora": [["None"], {}]}}, "output": ["LORA"]},
    "LoadPicture": {"input": {"required": {"picture": [["example.png"], {}]}}, "output": ["IMAGE"]},
    "Save": {"input": {"required": {"lora": ["LORA", {}]}}, "output": [], "output_node": True},
    "Blend": {
        "input": {
            "required": {
                "first": ["LORA", {}],
                "second": ["LORA", {}],
                "picture": ["IMAGE", {}],
                "strength": ["INT", {"default": 1, "min": 0, "max": 10}],
            }
        },
        "output": [],
        "output_node": True,
    },
}
CATALOG = catalog_of(nodes=NODES, folders={"LoadLora": {"lora": "loras"}, "LoadPicture": {"picture": "input"}})
PROMPT = {
    "1": {"class_type": "LoadLora", "inputs": {"lora": NAME}},
    "2": {"class_type": "Save", "inputs": {"lora": ["1", 0]}},
}
OWN = "own.safetensors"
BLENDED = {
    "1": {"class_type": "LoadLora", "inputs": {"lora": OWN}},
    "2": {"class_type": "LoadLora", "inputs": {"lora": NAME}},
    "3": {"class_type": "LoadPicture", "inputs": {"picture": "a.png"}},
    "4": {
        "class_type": "Blend",
        "inputs": {"first": ["1", 0], "second": ["2", 0], "picture": ["3", 0], "strength": 99},
    },
}
NOT_TOLD = "no worker has told what is installed"
TAKEN = "A run is taken, and waits until one does."


@pytest.fixture
def hub() -> Iterator[Hub]:
    with hugging_face() as running:
        yield running


@pytest.fixture
def stack(start_fake: StartFake, hub: Hub) -> Stack:
    return start_fake(fleet="none", accelerators="L4", hugging_face_url=hub.url)


def found_on(hub: Hub, name: str) -> dict[str, Any]:
    """What a node says of its model."""
    return {"name": name, "url": hub.put("someone/sea", name, MODEL), "directory": "loras"}


def ends(stack: Stack, client: Client, run: str, node_id: str, reason: str = "missing_model") -> None:
    """A worker joins, and its ComfyUI refuses a run for the value of a node."""
    worker = RawWorker(stack, token_for(stack, None)).joined(CATALOG)
    lease = worker.assigned()["lease"]
    refusal = {"message": f"Value not in list: lora: '{NAME}'", "node_id": node_id, "node_type": "LoadLora"}
    assert worker.end(lease, reason=reason, failure=refusal).status_code == 204
    assert client.finish(run)["end_reason"] == reason


def test_a_failed_run_gets_what_it_lacked(
    stack: Stack, hub: Hub, enter: Enter, node_clients: Path, tmp_path: Path
) -> None:
    client, page = stack.client("alice"), enter(stack, "alice")
    model = found_on(hub, NAME)
    editor_graph = {
        "nodes": [node(1, "LoadLora", NAME, properties={"models": [model]}), node(2, "Save")],
        "links": [[1, 1, 0, 2, 0, "LORA"]],
    }
    body = {"name": "Sea", "prompt": PROMPT, "workflow": editor_graph}
    workflow = client.http.post("/api/v1/workflows", json=body).json()["id"]
    extra = {"extra_pnginfo": {"workflow": editor_graph}}
    run = client.post_run({"prompt": PROMPT, "extra_data": extra}, workflow).json()["id"]

    page.goto(f"/workflows/{workflow}")
    expect(page.locator("#missing")).to_contain_text(NOT_TOLD)
    expect(page.get_by_text(TAKEN)).to_be_visible()
    page.goto(f"/workflows/{workflow}/edit")
    expect(page.locator("[data-obstacle]")).to_contain_text(NOT_TOLD)
    drawn = client.http.post("/api/v1/workflows", json={"name": "Drawn", "workflow": editor_graph}).json()["id"]
    page.goto(f"/workflows/{drawn}")
    expect(page.locator("#missing")).to_contain_text(NOT_TOLD)
    expect(page.get_by_text(TAKEN)).to_have_count(0)  # in the editor's form alone it is not
    expect(page.get_by_text("nothing to run")).to_have_count(0)

    ends(stack, client, run, "1")

    page.goto(f"/runs/{run}")
    missing = page.get_by_role("region", name="Missing here")
    expect(missing).to_contain_text(f"/models/loras/{NAME} was not found.")
    expect(missing).to_contain_text(model["url"])
    expect(missing).to_contain_text(size(len(MODEL)))  # of the second answer, which takes the place of the first
    page.screenshot(path=tmp_path / "failed-run.png", full_page=True)
    page.evaluate(axe_in(node_clients))
    assert serious(page.evaluate(LOOK)) == []
    missing.get_by_role("button", name="Get what is missing").click()

    expect(page.get_by_text("Nothing is missing for it here by now.")).to_be_visible()
    assert f"/models/loras/{NAME}" in json.dumps(client.http.get("/api/v1/files").json())
    page.goto(f"/workflows/{workflow}")
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_visible()
    expect(page.locator("#missing")).to_have_count(0)

    refused = client.post_run({"prompt": PROMPT}, workflow).json()["id"]
    ends(stack, client, refused, "1", "validation")  # for what the node thinks of the value: it lacked nothing
    page.goto(f"/runs/{refused}")
    expect(page.get_by_role("region", name="Error")).to_be_visible()
    expect(page.get_by_text("Nothing is missing")).to_have_count(0)


def test_what_came_with_a_run_is_not_missing(stack: Stack, hub: Hub, enter: Enter) -> None:
    client, page = stack.client("bob"), enter(stack, "bob")
    own, lacked = (
        node(number, "LoadLora", name, properties={"models": [found_on(hub, name)]})
        for number, name in ((1, OWN), (2, NAME))
    )
    editor_graph = {
        "nodes": [own, lacked, node(3, "LoadPicture", "a.png"), node(4, "Blend", 99)],
        "links": [[1, 1, 0, 4, 0, "LORA"], [2, 2, 0, 4, 1, "LORA"], [3, 3, 0, 4, 2, "IMAGE"]],
    }
    files = {
        f"/models/loras/{OWN}": f"data:application/octet-stream;base64,{base64.b64encode(MODEL).decode()}",
        "/input/a.png": "data:image/png,pixels",
    }
    extra = {"extra_pnginfo": {"workflow": editor_graph}}
    run = client.submit(BLENDED, files=files, extra_data=extra)
    ends(stack, client, run, "2")

    first = stack.visitor("bob").get(f"/runs/{run}").text
    assert re.findall(r"([\w/.]+)</code> was not found", first) == [f"/models/loras/{NAME}"]
    page.goto(f"/runs/{run}")
    missing = page.get_by_role("region", name="Missing here")
    expect(missing).to_contain_text(size(len(MODEL)))  # of the second answer
    expect(missing.get_by_role("listitem")).to_have_count(2)
    expect(missing).to_contain_text(f"/models/loras/{NAME} was not found.")
    expect(missing).to_contain_text("strength must be at most 10")
    expect(missing.get_by_role("link", name="Open in editor")).to_have_count(0)  # it is the workflow's, not the run's
    missing.get_by_role("button", name="Get what is missing").click()

    expect(page.locator("#missing")).to_have_count(0)
    paths = [file["path"] for file in client.http.get("/api/v1/files").json()]
    assert paths == [f"/models/loras/{NAME}"]
