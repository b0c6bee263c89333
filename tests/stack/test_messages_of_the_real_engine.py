"""The engine itself: nodes made at run time, pictures on the websocket, errors and results of every kind."""

import io
import json
import struct
import threading
from typing import Any

import httpx2
import pytest
from PIL import Image
from websockets.sync.client import ClientConnection, connect

from tests import loopback
from tests.fakes.http import Origin
from tests.stack.following import followed
from tests.stack.graphs import node
from tests.stack.stack import Client, Stack

pytestmark = [pytest.mark.engine]

LIMIT_S = 60


@pytest.fixture
def comfyui(real: Stack) -> Any:
    with loopback.Client(base_url=real.native_url, timeout=60) as comfyui:
        yield comfyui


@pytest.fixture
def socket(real: Stack) -> Any:
    url = f"{real.native_url.replace('http', 'ws')}/ws?clientId=teller"
    with connect(url, max_size=None) as socket:
        yield socket


def run(comfyui: httpx2.Client, socket: ClientConnection, graph: dict[str, Any]) -> tuple[str, list[Any]]:
    """The prompt's id, and what is said until it is over: (type, data), and pictures as bytes."""
    prompt_id = comfyui.post("/prompt", json={"prompt": graph, "client_id": "teller"}).json()["prompt_id"]
    said: list[Any] = []
    while not said or said[-1] != ("executing", {"node": None, "display_node": None, "prompt_id": prompt_id}):
        message = socket.recv(timeout=LIMIT_S)
        said.append(message if isinstance(message, bytes) else _pair(json.loads(message)))
    return prompt_id, said


def _pair(message: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return message["type"], message["data"]


def test_nodes_made_at_run_time(comfyui: httpx2.Client, socket: ClientConnection, client: Client, site: Origin) -> None:
    graph = {"5": node("TestExpands", count=3, ends="well", prefix="made")}

    prompt_id, said = run(comfyui, socket, graph)

    executing = {data["node"]: data["display_node"] for kind, data in said if kind == "executing" and data["node"]}
    made = [each for each in executing if each != "5"]
    assert len(made) == 6
    assert set(executing.values()) == {"5"}
    *_, states = [data["nodes"] for kind, data in said if kind == "progress_state"]
    assert {states[each]["parent_node_id"] for each in made} == {"5"} == {states[each]["real_node_id"] for each in made}
    executed = [data for kind, data in said if kind == "executed"]
    assert {data["display_node"] for data in executed} == {"5"}
    shown = [data["output"]["images"][0]["filename"] for data in executed]
    assert sorted(shown) == [f"made{number}_00001_.png" for number in range(3)]
    assert len(comfyui.get(f"/history/{prompt_id}").json()[prompt_id]["outputs"]) == 3

    begins = threading.Event()
    run_id = client.submit(graph, files={"/input/begins.txt": site.put("/begins.txt", b"now", hold=begins)})
    progress = [data for kind, data, _ in followed(client, run_id, begins) if kind == "progress"]
    assert {data["nodes_total"] for data in progress} == {1}
    assert [data["done"] for data in progress] == sorted(data["done"] for data in progress)


@pytest.mark.parametrize(
    ("ends", "message"), [("failing", "this node always fails"), ("in a cycle", "Dependency cycle detected")]
)
def test_an_error_in_an_expanded_node_fails_the_run(
    comfyui: httpx2.Client, socket: ClientConnection, client: Client, ends: str, message: str
) -> None:
    client.run({"1": node("EmptyImage", width=8, height=8, batch_size=1, color=1), "2": _saved("fine")})

    prompt_id, said = run(comfyui, socket, {"5": node("TestExpands", count=2, ends=ends, prefix=ends.split()[-1])})

    [error] = [data for kind, data in said if kind == "execution_error"]
    assert (error["exception_message"].strip(), error["node_id"]) == (message, "5")
    assert set(error) >= {"executed", "current_inputs", "current_outputs", "node_type", "traceback", "timestamp"}
    entry = comfyui.get(f"/history/{prompt_id}").json()[prompt_id]
    assert entry["status"]["status_str"] == "error"
    found = next(each for each in client.http.get("/api/v1/runs").json() if each["prompt_id"] == prompt_id)
    kept = [output["filename"].rpartition("/")[2] for output in found["outputs"]]
    # ComfyUI takes output nodes first: both pictures were saved before what is wrong came up.
    assert kept == [f"{ends.split()[-1]}{number}_00001_.png" for number in range(2)]
    assert error["executed"]


def _saved(prefix: str) -> dict[str, Any]:
    return node("SaveImage", images=["1", 0], filename_prefix=prefix)


def test_pictures_on_the_websocket(comfyui: httpx2.Client, socket: ClientConnection, client: Client) -> None:
    graph = {
        "1": node("EmptyImage", width=40, height=20, batch_size=5, color=0x00FF00),
        "2": node("SaveImageWebsocket", images=["1", 0]),
    }

    prompt_id, said = run(comfyui, socket, graph)

    current, pictures = None, []
    for each in said:
        if isinstance(each, bytes):
            assert struct.unpack_from(">II", each) == (1, 2)
            assert current == "2"
            pictures.append(Image.open(io.BytesIO(each[8:])).convert("RGB"))
        elif each[0] == "executing":
            current = each[1]["node"]
    assert [(picture.size, picture.getpixel((39, 19))) for picture in pictures] == [((40, 20), (0, 255, 0))] * 5
    job = client.http.get(f"/api/v2/jobs/{prompt_id}").json()
    assert [(output["node_id"], output["type"]) for output in job["outputs"]] == [("2", "image")] * 5
    assert Image.open(io.BytesIO(loopback.get(job["outputs"][4]["url"]).content)).size == (40, 20)


def test_odd_results_and_a_node_that_leaves(client: Client) -> None:
    odd = client.run({"1": node("TestOdd", value="nan"), "2:1": node("TestOdd", value=2.0)})
    left = client.run({"1": node("TestExits")})
    after = client.run({"1": node("TestOdd", value=1.0)})

    assert (odd["status"], odd["attempt"]) == ("COMPLETED", 1), odd["error"]
    assert [output["filename"].rpartition("/")[2] for output in odd["output"]] == [
        "tags_1.txt",
        "text_1.txt",
        "tags_2-1.txt",
        "text_2-1.txt",
    ]
    assert {output["text"] for output in odd["output"]} == {"x", "one, two"}
    assert (left["status"], left["end_reason"], left["attempt"]) == ("ERROR", "node_error", 1)
    assert "this node leaves" in left["error"]["message"]
    assert after["status"] == "COMPLETED"
