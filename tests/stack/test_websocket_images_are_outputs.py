"""SaveImageWebsocket and its kind send their pictures as messages: each is a result, whatever its size."""

import json
import struct

from websockets.sync.client import connect

from tests import loopback
from tests.stack.graphs import node
from tests.stack.stack import Client, Stack

LARGE = 44_000_000
SIZES = [8, 300_000, LARGE, *range(1, 61)]
PICTURES = [b"\x89PNG" + bytes([number]) * size for number, size in enumerate(SIZES)]
GRAPH = {
    "1": node("FakePreviews", count=500),
    "2": node("FakePictures", sizes=",".join(map(str, SIZES))),
    "3": node("FakeSave", text="after them"),
}


def test_every_image_arrives_in_order_and_is_an_output(shared: Stack) -> None:
    client, url = shared.client(), f"{shared.native_url.replace('http', 'ws')}/ws?clientId=me"

    heard: dict[str, list[bytes]] = {}
    with connect(url, max_size=None) as socket, loopback.Client(base_url=shared.native_url) as comfyui:
        comfyui.post("/prompt", json={"prompt": GRAPH, "client_id": "me"})
        executing, order = "", []
        while executing is not None:
            message = socket.recv(timeout=60)
            if isinstance(message, bytes):
                assert struct.unpack_from(">II", message) == (1, 2)
                heard.setdefault(executing, []).append(message[8:])
            elif (said := json.loads(message))["type"] == "executing":
                executing = said["data"]["node"]
                order.append(executing)
    run = client.get(client.http.get("/api/v1/runs").json()[0]["id"])
    job = client.http.get(f"/api/v2/jobs/{run['prompt_id']}").json()

    assert order == ["1", "2", "3", None]
    assert heard["2"] == PICTURES
    assert run["status"] == "COMPLETED"
    pictures = [output for output in run["output"] if output["node_id"] == "2"]
    assert [output["size"] for output in pictures] == [len(picture) for picture in PICTURES]
    assert {output["content_type"] for output in pictures} == {"image/png"}
    assert [client.http.get(output["url"]).content for output in pictures] == PICTURES
    assert [output["size_bytes"] for output in job["outputs"] if output["node_id"] == "2"] == [*map(len, PICTURES)]
    assert len(heard.get("1", [])) < 500  # of work in progress only the newest is passed on
    assert [output["node_id"] for output in run["output"]][-1] == "3"


def test_images_of_a_failed_run_are_kept(tenant: Client) -> None:

    run = tenant.run({"2": node("FakePictures", sizes="10,2000000"), "3": node("FakeError", message="no")})

    assert run["status"] == "ERROR"
    assert [(output["size"], output["partial"]) for output in run["outputs"]] == [(14, True), (2_000_004, True)]
