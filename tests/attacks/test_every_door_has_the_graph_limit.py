"""A graph, in the API's form or the editor's, is as large as it may be, whichever door it comes through."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from tests import carriers
from tests.stack.conftest import StartFake
from tests.stack.stack import Client, Stack

LIMIT = 2000


@dataclass(frozen=True)
class Doors:
    """A client of the APIs, and a browser, of one account."""

    client: Client
    visitor: httpx2.Client

    def workflow(self) -> str:
        return str(self.client.http.post("/api/v1/workflows", json={"name": "small"}).json()["id"])

    def imported(self, name: str, data: bytes) -> httpx2.Response:
        return self.visitor.post("/workflows/import", files={"file": (name, data)})


@pytest.fixture(scope="module")
def doors(start_fake_once: StartFake) -> Doors:
    stack: Stack = start_fake_once(graph_limit_bytes=str(LIMIT)).wait_ready()
    return Doors(stack.client("ada"), stack.visitor("ada"))


def api_graph(size: int) -> dict[str, Any]:
    """A graph of so many bytes, in the API's form."""
    graph = {"1": {"class_type": "FakeSave", "inputs": {"text": "", "prefix": "a"}}}
    graph["1"]["inputs"]["text"] = "a" * (size - len(_compact(graph)))  # type: ignore[index]
    return graph


def editors_graph(size: int) -> dict[str, Any]:
    """The same in the editor's form."""
    graph: dict[str, Any] = {"nodes": [], "links": [], "extra": ""}
    return {**graph, "extra": "a" * (size - len(_compact(graph)))}


def editors_graph_to_run(size: int) -> dict[str, Any]:
    """One that can be converted."""
    saves: dict[str, Any] = {"id": 1, "type": "FakeSave", "mode": 0, "widgets_values": [""]}
    graph: dict[str, Any] = {"nodes": [saves], "links": [], "extra": ""}
    return {**graph, "extra": "a" * (size - len(_compact(graph)))}


def _compact(graph: Any) -> bytes:
    return json.dumps(graph, separators=(",", ":")).encode()


def _extra(size: int) -> dict[str, Any]:
    return {"extra_data": {"extra_pnginfo": {"workflow": editors_graph(size)}}}


def v1_run(doors: Doors, size: int) -> httpx2.Response:
    return doors.client.post_run({"prompt": api_graph(size)})


def v1_run_of_an_editor(doors: Doors, size: int) -> httpx2.Response:
    return doors.client.post_run({"prompt": api_graph(100), **_extra(size)})


def v1_run_in_the_editors_format(doors: Doors, size: int) -> httpx2.Response:
    return doors.client.post_run({"prompt": editors_graph_to_run(size)})


def v1_run_of_a_saved_editors_graph(doors: Doors, size: int) -> httpx2.Response:
    made = doors.client.http.post("/api/v1/workflows", json={"prompt": editors_graph_to_run(size)})
    return made if made.is_error else doors.client.post_run({}, made.json()["id"])


def v1_file(doors: Doors, size: int) -> httpx2.Response:
    return doors.client.http.post("/api/v1/workflows/read", content=_picture(size))


def v1_saved_graph(doors: Doors, size: int) -> httpx2.Response:
    return doors.client.http.post("/api/v1/workflows", json={"prompt": api_graph(size)})


def v1_saved_editors_graph(doors: Doors, size: int) -> httpx2.Response:
    return doors.client.http.post("/api/v1/workflows", json={"workflow": editors_graph(size)})


def v1_saved_as_text(doors: Doors, size: int) -> httpx2.Response:
    return doors.client.http.post("/api/v1/workflows", json={"workflow": json.dumps(editors_graph(size))})


def v1_changed_graph(doors: Doors, size: int) -> httpx2.Response:
    return doors.client.http.patch(f"/api/v1/workflows/{doors.workflow()}", json={"prompt": api_graph(size)})


def v1_changed_editors_graph(doors: Doors, size: int) -> httpx2.Response:
    return doors.client.http.patch(f"/api/v1/workflows/{doors.workflow()}", json={"workflow": editors_graph(size)})


def v2_job(doors: Doors, size: int) -> httpx2.Response:
    return doors.client.http.post("/api/v2/jobs", json={"workflow": api_graph(size)})


def v2_job_in_the_editors_format(doors: Doors, size: int) -> httpx2.Response:
    return doors.client.http.post("/api/v2/jobs", json={"workflow": editors_graph_to_run(size)})


def native_prompt_in_the_editors_format(doors: Doors, size: int) -> httpx2.Response:
    return doors.client.http.post("/comfy/prompt", json={"prompt": editors_graph_to_run(size)})


def native_prompt(doors: Doors, size: int) -> httpx2.Response:
    return doors.client.http.post("/comfy/prompt", json={"prompt": api_graph(size)})


def native_prompt_of_an_editor(doors: Doors, size: int) -> httpx2.Response:
    return doors.client.http.post("/comfy/prompt", json={"prompt": api_graph(100), **_extra(size)})


def native_file(doors: Doors, size: int) -> httpx2.Response:
    return doors.client.http.post("/comfy/api/userdata/workflows/a.json", content=_compact(editors_graph(size)))


def native_file_of_another_folder(doors: Doors, size: int) -> httpx2.Response:
    doors.client.http.post("/comfy/api/userdata/notes.txt", content=_compact(editors_graph(size)))
    return doors.client.http.post("/comfy/api/userdata/notes.txt/move/workflows%2Fb.json")


def website_graph(doors: Doors, size: int) -> httpx2.Response:
    return doors.imported("a.json", json.dumps(api_graph(size), indent=8).encode())


def website_editors_graph(doors: Doors, size: int) -> httpx2.Response:
    return doors.imported("a.json", json.dumps(editors_graph(size), indent=8).encode())


def website_picture(doors: Doors, size: int) -> httpx2.Response:
    return doors.imported("a.png", _picture(size))


def _picture(size: int) -> bytes:
    return carriers.png({"workflow": json.dumps(editors_graph(size))})


ALL: tuple[Callable[[Doors, int], httpx2.Response], ...] = (
    v1_run,
    v1_run_of_an_editor,
    v1_run_in_the_editors_format,
    v1_run_of_a_saved_editors_graph,
    v1_file,
    v1_saved_graph,
    v1_saved_editors_graph,
    v1_saved_as_text,
    v1_changed_graph,
    v1_changed_editors_graph,
    v2_job,
    v2_job_in_the_editors_format,
    native_prompt,
    native_prompt_in_the_editors_format,
    native_prompt_of_an_editor,
    native_file,
    native_file_of_another_folder,
    website_graph,
    website_editors_graph,
    website_picture,
)


@pytest.mark.parametrize("door", ALL, ids=lambda door: door.__name__)
def test_the_largest_graph_is_taken_and_a_larger_one_is_not(
    doors: Doors, door: Callable[[Doors, int], httpx2.Response]
) -> None:
    taken, refused = door(doors, LIMIT), door(doors, LIMIT + 1)

    assert taken.status_code < 400, taken.text
    assert refused.status_code == 413, refused.text


def test_a_small_file_that_opens_to_a_large_graph_is_refused(doors: Doors) -> None:
    """Many boxes repeat the text of one definition."""
    text = {"id": 1, "type": "FakeSave", "mode": 0, "widgets_values": ["a" * 200]}
    box = {"id": "box", "nodes": [text], "links": [], "inputs": [], "outputs": []}
    boxes = [{"id": number, "type": "box"} for number in range(20)]
    graph = {"nodes": boxes, "links": [], "definitions": {"subgraphs": [box]}}

    refused = doors.client.post_run({"prompt": graph})
    saved = doors.client.http.post("/api/v1/workflows", json={"prompt": graph})

    converted = doors.client.http.post("/api/v1/workflows/convert", json={"workflow": graph})

    assert len(_compact(graph)) < LIMIT
    assert refused.status_code == converted.status_code == 413, refused.text
    assert (saved.status_code, saved.json()["prompt"]) == (201, None)
