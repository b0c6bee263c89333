"""ComfyUI ends while it executes: the run is tried again, and reported once."""

import os
import signal

import pytest

from tests.fakes.http import Origin
from tests.stack.conftest import StartFake
from tests.stack.graphs import TOLD, fake_wait_as_told, node
from tests.stack.stack import Stack


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once().wait_ready()


def test_comfyui_crashes_in_a_node_and_the_run_is_retried(stack: Stack) -> None:
    client = stack.client()

    run = client.run({"1": node("FakeCrash", times=1), "2": node("FakeSave", text="survived")})

    assert run["status"] == "COMPLETED", run["error"]
    assert run["retry_count"] == 1
    assert len(run["output"]) == 1


def test_comfyui_is_killed_mid_run_and_the_run_is_retried(stack: Stack, site: Origin) -> None:
    client = stack.client()
    run_id = client.submit(fake_wait_as_told(), files={TOLD: site.put("/seconds", b"600")})
    client.wait_for(run_id, "progress")
    site.put("/seconds", b"0")

    os.kill(stack.comfyui_pid(), signal.SIGKILL)
    run = client.finish(run_id)

    assert run["status"] == "COMPLETED", run["error"]
    assert run["retry_count"] == 1


def test_a_graph_that_always_crashes_comfyui_ends_as_an_error(stack: Stack) -> None:
    client = stack.client()

    run = client.run({"1": node("FakeCrash", times=99)})

    assert (run["status"], run["end_reason"]) == ("ERROR", "comfyui_crashed")
    assert run["attempt"] == 3
    assert "ComfyUI" in run["error"]["message"]
    assert run["error"]["hint"]
    assert client.run({"1": node("FakeSave", text="next")})["status"] == "COMPLETED"
