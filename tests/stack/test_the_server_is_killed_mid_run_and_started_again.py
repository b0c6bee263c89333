"""kill -9 of the server: what was acknowledged is there after the restart, and ends once."""

import pytest

from tests.fakes.http import Receiver
from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save, fake_wait

pytestmark = pytest.mark.several_servers


def test_the_server_is_killed_mid_run_and_started_again(start_fake: StartFake, hook: Receiver) -> None:
    stack = start_fake(lease_s="3").wait_ready()
    client = stack.client()
    running = client.submit(fake_wait(2), webhook=hook.url)
    queued = [client.submit(fake_save(f"text {number}")) for number in range(5)]
    client.wait_for(running, "status", state="running")

    stack.kill()
    stack.start()

    for run_id in (running, *queued):
        run = client.finish(run_id)
        assert run["status"] == "COMPLETED", run["error"]
        assert len(run["output"]) == 1
    ends = [data["state"] for kind, data, _ in client.events(running) if kind == "status"]
    assert ends.count("succeeded") == 1
