"""A workflow in the editor's format, dropped on the page, has a form and runs without a detour through the editor; what
it lacks is named, and it runs once that is there."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from tests.stack.stack import Client, Stack


def saved(kind: str, text: str = "from a file", **more: Any) -> bytes:
    node = {"id": 1, "type": kind, "mode": 0, "title": "My words", "widgets_values": [text], **more}
    return json.dumps({"nodes": [node], "links": [], "version": 0.4}).encode()


@pytest.fixture
def account(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


@pytest.fixture
def client(shared: Stack, account: str) -> Client:
    return shared.client(account)


@pytest.fixture
def visitor(shared: Stack, account: str) -> httpx2.Client:
    return shared.visitor(account)


def drop(visitor: httpx2.Client, data: bytes) -> str:
    """The path of the workflow that it became."""
    answer = visitor.post("/workflows/import", files={"file": ("my_flow.json", data)})
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


def test_it_has_a_form_that_runs(visitor: httpx2.Client, client: Client) -> None:
    path = drop(visitor, saved("FakeSave"))
    page = visitor.get(path).text

    started = visitor.post(f"{path}/run", data={"has:1.text": "1", "value:1.text": "from the form"})

    assert "my flow" in page
    assert "from a file" in page
    assert started.status_code == 303, started.text
    run = client.finish(started.headers["location"].rpartition("/")[2])
    assert (run["status"], run["data"]["prompt"]["1"]["inputs"]) == ("COMPLETED", {"text": "from the form"})


def test_a_class_that_nobody_has_is_named_and_the_file_is_kept(visitor: httpx2.Client, client: Client) -> None:
    path = drop(visitor, saved("NobodyHasThis"))

    assert "NobodyHasThis is not installed" in visitor.get(path).text
    refused = client.post_run({}, path.rpartition("/")[2])
    assert refused.status_code == 400
    assert "node 1 'My words' (NobodyHasThis)" in refused.json()["message"]


def test_muted_nodes_are_said_to_be_off(visitor: httpx2.Client, client: Client) -> None:
    path = drop(visitor, saved("FakeSave", mode=2))

    assert "Every node is muted or bypassed" in visitor.get(path).text
    refused = client.post_run({}, path.rpartition("/")[2])
    assert (refused.status_code, refused.json()["message"]) == (400, "The workflow has nothing to run.")


def test_one_key_makes_one_run_of_it(client: Client) -> None:
    body = {"prompt": json.loads(saved("FakeSave"))}

    first, again = (client.post_run(body, **{"Idempotency-Key": "once"}).json()["id"] for _ in range(2))

    assert first == again
    run = client.finish(first)
    assert run["data"]["extra_data"]["extra_pnginfo"]["workflow"] == body["prompt"]


def test_the_api_shows_the_editors_form_of_one_workflow(visitor: httpx2.Client, client: Client) -> None:
    made = drop(visitor, saved("FakeSave")).rpartition("/")[2]

    shown = client.http.get(f"/api/v1/workflows/{made}").json()

    assert shown["workflow"] == json.loads(saved("FakeSave"))
    assert shown["prompt"]["1"]["class_type"] == "FakeSave"
    assert all("workflow" not in each for each in client.http.get("/api/v1/workflows").json())
