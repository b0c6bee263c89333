"""A workflow as ComfyUI's editor saves it, with a subgraph in a subgraph, makes the same bytes as its API export:
posted to v1, to v2 and to ComfyUI's own API, saved and run, submitted by the client, and given to the command line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from comfyward.client import Client as PythonClient
from tests import command_line, loopback
from tests.stack.stack import Client, Stack

INNER, OUTER = "6a0b5c9e-0000-4000-8000-000000000001", "6a0b5c9e-0000-4000-8000-000000000002"


def _node(node_id: int, kind: str, values: list[Any], **slots: Any) -> dict[str, Any]:
    about = {"id": node_id, "type": kind, "title": f"My {kind}", "mode": 0, "properties": {}}
    return {**about, "widgets_values": values, **slots}


def _widget(name: str, kind: str, link: int | None = None) -> dict[str, Any]:
    return {"name": name, "type": kind, "widget": {"name": name}, "link": link}


def _link(number: int, origin: int, slot: int, target: int, target_slot: int, kind: str) -> dict[str, Any]:
    ends = {"origin_id": origin, "origin_slot": slot, "target_id": target, "target_slot": target_slot}
    return {"id": number, **ends, "type": kind}


def _image_out(links: list[int]) -> list[dict[str, Any]]:
    return [{"name": "IMAGE", "type": "IMAGE", "links": links}]


EDITORS: dict[str, Any] = {
    "id": "6a0b5c9e-0000-4000-8000-000000000000",
    "version": 0.4,
    "nodes": [
        _node(5, OUTER, [0x336699], inputs=[_widget("colour", "INT")], outputs=_image_out([1])),
        _node(
            9,
            "SaveImage",
            ["from/the editor"],
            inputs=[{"name": "images", "type": "IMAGE", "link": 1}, _widget("filename_prefix", "STRING")],
        ),
        _node(11, "Note", ["Two boxes, one in the other."]),
    ],
    "links": [[1, 5, 0, 9, 0, "IMAGE"]],
    "groups": [],
    "extra": {},
    "definitions": {
        "subgraphs": [
            {
                "id": OUTER,
                "name": "Inverted",
                "inputs": [{"id": "a", "name": "colour", "type": "INT", "linkIds": [1]}],
                "outputs": [{"id": "b", "name": "IMAGE", "type": "IMAGE", "linkIds": [3]}],
                "nodes": [
                    _node(2, INNER, [0], inputs=[_widget("color", "INT", 1)], outputs=_image_out([2])),
                    _node(
                        3,
                        "ImageInvert",
                        [],
                        inputs=[{"name": "image", "type": "IMAGE", "link": 2}],
                        outputs=_image_out([3]),
                    ),
                ],
                "links": [
                    _link(1, -10, 0, 2, 0, "INT"),
                    _link(2, 2, 0, 3, 0, "IMAGE"),
                    _link(3, 3, 0, -20, 0, "IMAGE"),
                ],
            },
            {
                "id": INNER,
                "name": "Plain",
                "inputs": [{"id": "c", "name": "color", "type": "INT", "linkIds": [1]}],
                "outputs": [{"id": "d", "name": "IMAGE", "type": "IMAGE", "linkIds": [2]}],
                "nodes": [
                    _node(
                        1,
                        "EmptyImage",
                        [40, 24, 1, 0],
                        inputs=[_widget(name, "INT") for name in ("width", "height", "batch_size")]
                        + [_widget("color", "INT", 1)],
                        outputs=_image_out([2]),
                    )
                ],
                "links": [_link(1, -10, 0, 1, 3, "INT"), _link(2, 1, 0, -20, 0, "IMAGE")],
            },
        ]
    },
}


def _exported(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"inputs": inputs, "class_type": class_type, "_meta": {"title": f"My {class_type}"}}


EXPORTED = {
    "9": _exported("SaveImage", filename_prefix="from/the editor", images=["5:3", 0]),
    "5:3": _exported("ImageInvert", image=["5:2:1", 0]),
    "5:2:1": _exported("EmptyImage", width=40, height=24, batch_size=1, color=0x336699),
}


@pytest.fixture(scope="module")
def client(real: Stack) -> Client:
    return real.client("editors")


@pytest.fixture(scope="module")
def expected(client: Client) -> bytes:
    """What the API export makes, with the editor's graph beside it, as the editor sends both."""
    return made(client, client.submit(EXPORTED, extra_data={"extra_pnginfo": {"workflow": EDITORS}}))


def made(client: Client, run_id: str) -> bytes:
    run = client.finish(run_id)
    assert run["status"] == "COMPLETED", run["error"]
    [output] = run["output"]
    return loopback.get(output["url"]).content


def v1(client: Client) -> str:
    return client.submit(EDITORS)


def v1_with_both(client: Client) -> str:
    return client.submit({"prompt": EXPORTED, "workflow": EDITORS})


def v2(client: Client) -> str:
    answer = client.http.post("/api/v2/jobs", json={"workflow": EDITORS})
    assert answer.status_code == 201, answer.text
    return of_prompt_id(client, answer.json()["id"])


def comfyuis_own(client: Client) -> str:
    answer = client.http.post("/comfy/prompt", json={"prompt": EDITORS})
    assert answer.status_code == 200, answer.text
    return of_prompt_id(client, answer.json()["prompt_id"])


def of_prompt_id(client: Client, prompt_id: str) -> str:
    """The newest run, which is of this prompt."""
    newest = client.http.get("/api/v1/runs", params={"limit": 1}).json()[0]
    assert newest["prompt_id"] == prompt_id
    return str(newest["id"])


def python_client(client: Client) -> str:
    with PythonClient(str(client.http.base_url), client.key) as python:
        return python.submit(EDITORS).id


def saved_as_prompt(client: Client) -> str:
    workflow = client.http.post("/api/v1/workflows", json={"name": "a", "prompt": EDITORS}).json()
    assert workflow["prompt"] == EXPORTED
    return str(client.post_run({"extra_data": {"extra_pnginfo": {"workflow": EDITORS}}}, workflow["id"]).json()["id"])


def changed_to_it(client: Client) -> str:
    workflow_id = client.http.post("/api/v1/workflows", json={"name": "b"}).json()["id"]
    workflow = client.http.patch(f"/api/v1/workflows/{workflow_id}", json={"prompt": EDITORS}).json()
    assert workflow["prompt"] == EXPORTED
    return str(client.post_run({"extra_data": {"extra_pnginfo": {"workflow": EDITORS}}}, workflow["id"]).json()["id"])


@pytest.mark.parametrize(
    "door",
    [v1, v1_with_both, v2, comfyuis_own, python_client, saved_as_prompt, changed_to_it],
    ids=lambda door: door.__name__,
)
def test_it_makes_the_bytes_of_its_export(client: Client, expected: bytes, door: Callable[[Client], str]) -> None:
    assert made(client, door(client)) == expected


@pytest.mark.parametrize("kind", ["workflow.json", "both.json", "-"])
def test_the_command_line_makes_them_too(client: Client, expected: bytes, tmp_path: Path, kind: str) -> None:
    content = json.dumps({"workflow": EDITORS, "prompt": EXPORTED} if kind == "both.json" else EDITORS)
    (tmp_path / kind).write_text(content)
    source = kind if kind == "-" else str(tmp_path / kind)

    done = run_command(client, source, "--out", str(tmp_path / "out"), text=content)

    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).read_bytes() == expected


def test_inputs_of_inner_nodes_are_set_on_the_command_line(client: Client, tmp_path: Path) -> None:
    (tmp_path / "workflow.json").write_text(json.dumps(EDITORS))

    done = run_command(client, str(tmp_path / "workflow.json"), "--set", "5:2:1.width=48", "--json")

    assert done.returncode == 0, done.stderr
    sent = json.loads(done.stdout)["data"]
    assert sent["prompt"]["5:2:1"]["inputs"] == {**EXPORTED["5:2:1"]["inputs"], "width": 48}
    assert sent["extra_data"]["extra_pnginfo"]["workflow"] == EDITORS


def test_a_picture_made_here_runs_again_and_makes_the_same_picture(
    client: Client, expected: bytes, tmp_path: Path, real: Stack
) -> None:
    """Given to the command line, read by the API, and dropped on the page."""
    picture = tmp_path / "made.png"
    picture.write_bytes(expected)

    done = run_command(client, str(picture), "--out", str(tmp_path / "out"))
    with PythonClient(str(client.http.base_url), client.key) as python:
        read = python.read_workflow(picture)
        again = python.submit(read["prompt"], extra_data={"extra_pnginfo": {"workflow": read["workflow"]}}).id
    visitor = real.visitor("editors")
    dropped = visitor.post("/workflows/import", files={"file": ("made.png", expected)})
    workflow = client.http.get(f"/api/v1{dropped.headers['location']}").json()
    from_page = client.post_run({}, workflow["id"]).json()["id"]

    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).read_bytes() == expected
    assert (read["prompt"], read["workflow"], read["remarks"]) == (EXPORTED, EDITORS, [])
    assert made(client, again) == expected
    assert workflow["prompt"] == EXPORTED
    assert client.finish(from_page)["data"]["prompt"] == EXPORTED


def run_command(client: Client, *arguments: str, text: str = "") -> Any:
    environment = {**os.environ, "COMFYWARD_URL": str(client.http.base_url), "COMFYWARD_API_KEY": client.key}
    return command_line.comfyward("run", *arguments, environment=environment, text=text)
