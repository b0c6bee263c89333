"""Outputs of finished nodes are available while other nodes run, and stay however the run ends."""

import json
import os
import signal
from typing import Any

import pytest
from websockets.sync.client import connect

from tests import loopback
from tests.fakes.http import Origin
from tests.stack.conftest import StartFake
from tests.stack.graphs import TOLD, fake_wait_as_told, node
from tests.stack.stack import Client, Stack

# What stays: a file that its node shows, one that is only there, a text. What does not: half a file.
LEFT = {
    "1": node("FakeSave", text="whole", prefix="shown"),
    "2": node("FakeQuiet", name="quiet.bin"),
    "1:2": node("FakeText", text="first"),
    "1-2": node("FakeText", text="second"),
}
NAMES = ["shown_00001_.txt", "text_1-2.txt", "text_1-2_2.txt", "quiet.bin"]


def names(outputs: list[dict[str, Any]]) -> list[str]:
    return [output.get("name") or output["filename"].rpartition("/")[2] for output in outputs]


def texts(outputs: list[dict[str, Any]]) -> dict[str, str]:
    return {output["node_id"]: output["text"] for output in outputs if "text" in output}


def job(client: Client, run: dict[str, Any]) -> dict[str, Any]:
    return dict(client.http.get(f"/api/v2/jobs/{run['prompt_id']}").json())


@pytest.mark.parametrize(
    ("last", "more", "reason"),
    [
        (node("FakeHalf", name="half.mp4"), {}, "node_error"),
        (node("FakeWait", seconds=60), {"timeout": 4}, "timeout"),
        (node("FakeCrash", times=99), {}, "comfyui_crashed"),
        (node("FakeOom", times=99), {}, "oom"),
    ],
)
def test_of_a_run_that_fails(tenant: Client, last: dict[str, Any], more: dict[str, Any], reason: str) -> None:

    run = tenant.run({**LEFT, "9": last}, **more)

    assert (run["status"], run["end_reason"]) == ("ERROR", reason)
    assert "error" in run["output"]
    assert names(run["outputs"]) == NAMES
    assert {output["partial"] for output in run["outputs"]} == {True}
    assert texts(run["outputs"]) == {"1:2": "first", "1-2": "second"}
    assert names(job(tenant, run)["outputs"]) == NAMES
    assert [tenant.http.get(output["url"]).text for output in run["outputs"]] == ["whole", "first", "second", "whole"]


@pytest.mark.several_servers
def test_while_the_run_goes_on_and_when_it_is_cancelled(shared: Stack) -> None:
    client, url = shared.client(), f"{shared.native_url.replace('http', 'ws')}/ws?clientId=me"
    with connect(url) as socket, loopback.Client(base_url=shared.native_url) as comfyui:
        graph = {
            **LEFT,
            "3": node("FakeSave", text="temporary", prefix="shot", kind="temp"),
            "9": node("FakeWait", seconds=60),
        }
        comfyui.post("/prompt", json={"prompt": graph, "client_id": "me"})
        executed: dict[str, Any] = {}
        while set(executed) != {"1", "1:2", "1-2", "3"}:
            message = json.loads(socket.recv(timeout=120))
            if message["type"] == "executed":
                executed[message["data"]["node"]] = message["data"]["output"]
        found = client.http.get("/api/v1/runs").json()[0]
        run_id = found["id"]
        seen = [comfyui.get("/view", params=executed[each]["files"][0]).text for each in ("1", "3")]
        running, running_job = client.get(run_id), job(client, found)
        page = shared.visitor().get(f"/runs/{run_id}").text
        client.cancel(run_id)
        run = client.finish(run_id)

    assert seen == ["whole", "temporary"]
    assert (running["status"], names(running["output"])) == ("STARTED", NAMES)
    assert (running_job["status"], names(running_job["outputs"])) == ("running", NAMES)
    assert all("partial" not in output for output in running["outputs"])
    assert "shown_00001_.txt" in page
    assert (run["end_reason"], names(run["outputs"])) == ("cancelled", NAMES)
    assert [output["digest"] for output in run["outputs"]] == [output["digest"] for output in running["outputs"]]
    assert "did not succeed" in shared.visitor().get(f"/runs/{run_id}").text
    told = [data["name"] for kind, data, _ in client.events(run_id) if kind == "output"]
    assert sorted(told) == sorted(NAMES)  # each once


@pytest.mark.several_servers
def test_another_attempt_leaves_it_once(tenant: Client, site: Origin) -> None:
    graph = {**LEFT, "8": fake_wait_as_told()["1"], "9": node("FakeCrash", times=1, name="leaves it once")}

    run_id = tenant.submit(graph, files={TOLD: site.put("/seconds", b"5")})
    first = tenant.wait_for(run_id, "output", name="quiet.bin")
    site.put("/seconds", b"0")
    run = tenant.finish(run_id)

    assert (run["status"], run["attempt"]) == ("COMPLETED", 2)
    assert names(run["output"]) == NAMES
    assert tenant.http.get(f"/api/v2/assets/{first['id']}").status_code == 404
    [kept] = [each for each in job(tenant, run)["outputs"] if each["name"] == "quiet.bin"]
    assert tenant.http.get(f"/api/v2/assets/{kept['id']}").status_code == 200


def test_of_a_run_whose_worker_is_lost(start_fake: StartFake) -> None:
    stack = start_fake(max_attempts="1").wait_ready()
    client = stack.client()
    run_id = client.submit({**LEFT, "9": node("FakeWait", seconds=60)})
    client.wait_for(run_id, "output", name="text_1-2_2.txt")

    os.kill(stack.worker_pid(), signal.SIGKILL)
    run = client.finish(run_id)

    assert (run["end_reason"], names(run["outputs"])) == ("worker_lost", NAMES)
    assert texts(run["outputs"]) == {"1:2": "first", "1-2": "second"}


def test_a_file_that_is_written_again_is_what_it_was_at_last(shared: Stack, tenant: Client) -> None:
    again = {"1": node("FakeQuiet", name="same.bin"), "2": node("FakeWait", seconds=600)}
    again |= {"3": node("FakeSave", text="written later", prefix="same", name="same.bin")}

    run_id = tenant.submit(again)
    first = tenant.wait_for(run_id, "output", name="same.bin")
    shared.end_wait()
    run = tenant.finish(run_id)

    [output] = run["output"]
    assert tenant.http.get(output["url"]).text == "written later"
    assert first["size"] == len("whole")
    failed = tenant.run({"1": node("FakeQuiet", name="same.bin"), "2": node("FakeHalf", name="same.bin")})
    assert failed["outputs"] == []  # it was whole once, and is no more
