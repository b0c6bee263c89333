"""A node may become other nodes while it runs: clients see whose they are, and progress is that of the graph."""

import json
import threading
from typing import Any

import pytest
from websockets.sync.client import connect

from tests import loopback
from tests.fakes.http import Origin
from tests.stack.following import followed
from tests.stack.graphs import node
from tests.stack.stack import Client, Stack

MADE = [f"5.0.0.{number}" for number in range(30)]
IDS = {"display_node_id": "5", "parent_node_id": "5", "real_node_id": "5"}
GRAPH = {
    "1": node("FakeSave", text="before", prefix="before"),
    "5": node("FakeExpands", nodes=30, fails=False),
    "7": node("FakeWait", seconds=0.3),
}


@pytest.fixture
def said(shared: Stack) -> dict[str, Any]:
    """Messages of one run that completes and of one whose last expanded node fails."""
    told: dict[str, Any] = {"client": shared.client()}
    url = f"{shared.native_url.replace('http', 'ws')}/ws?clientId=me"
    with connect(url) as socket, loopback.Client(base_url=shared.native_url) as comfyui:
        for name, fails in (("good", False), ("bad", True)):
            graph = {**GRAPH, "5": node("FakeExpands", nodes=30, fails=fails)}
            prompt_id = comfyui.post("/prompt", json={"prompt": graph, "client_id": "me"}).json()["prompt_id"]
            messages = told[name] = []
            while not messages or messages[-1] != ("executing", None):
                message = json.loads(socket.recv(timeout=60))
                node_id = message["data"].get("node", "")
                messages.append((message["type"], None if node_id is None else message["data"]))
            told[f"{name} history"] = comfyui.get(f"/history/{prompt_id}").json()[prompt_id]
    told["runs"] = [run["id"] for run in told["client"].http.get("/api/v1/runs").json()]
    return told


def test_keep_their_parents_and_never_pass_the_total(said: dict[str, Any], site: Origin) -> None:
    client: Client = said["client"]
    executing = [data for kind, data in said["good"] if kind == "executing" and data]
    assert [data["node"] for data in executing] == ["1", "5", *MADE, "7"]
    assert {data["display_node"] for data in executing if data["node"] in MADE} == {"5"}
    *_, states = [data["nodes"] for kind, data in said["good"] if kind == "progress_state"]
    assert {state["state"] for state in states.values()} == {"finished"}
    for made in MADE:
        assert states[made] | IDS | {"node_id": made} == states[made]
    executed = {data["node"]: data["display_node"] for kind, data in said["good"] if kind == "executed"}
    assert executed == {"1": "1", **dict.fromkeys(MADE, "5")}
    assert said["good history"]["meta"][MADE[3]] == {
        "node_id": MADE[3],
        "display_node": "5",
        "parent_node": "5",
        "real_node_id": "5",
    }

    [error] = [data for kind, data in said["bad"] if kind == "execution_error"]
    assert (error["node_id"], error["node_type"], error["exception_message"]) == ("5", "FakeError", "a child failed")
    assert error["executed"] == ["1", *MADE[:-1]]
    assert error["current_outputs"] == ["1"]
    assert error["current_inputs"] == {"nodes": [30], "fails": [True]}
    kinds = dict(said["bad history"]["status"]["messages"])
    assert kinds["execution_error"]["executed"] == error["executed"]
    assert len(said["bad history"]["outputs"]) == 30

    assert {output["node_id"] for output in client.get(said["runs"][0])["outputs"]} == {"1", "5"}
    begins = threading.Event()
    run_id = client.submit(GRAPH, files={"/input/begins": site.put("/begins", b"now", hold=begins)})
    told = [data for kind, data, _ in followed(client, run_id, begins) if kind == "progress"]
    assert {data["nodes_total"] for data in told} == {3}
    assert all(0 <= data["nodes_done"] <= 3 and 0 <= data["done"] <= 1 for data in told)
    for name in ("nodes_done", "done"):
        assert [data[name] for data in told] == sorted(data[name] for data in told)
    assert told[-1]["nodes_done"] == 3
