"""The worker process is killed, or freezes and thaws: the run ends once, and nothing is lost."""

import os
import signal

import pytest

from tests.fakes.http import Origin
from tests.stack.conftest import StartFake
from tests.stack.graphs import TOLD, fake_wait, fake_wait_as_told


def test_a_worker_killed_mid_run_is_replaced_and_the_run_retried(start_fake: StartFake, site: Origin) -> None:
    stack = start_fake().wait_ready()
    client = stack.client()
    run_id = client.submit(fake_wait_as_told(), files={TOLD: site.put("/seconds", b"600")})
    client.wait_for(run_id, "status", state="running")
    site.put("/seconds", b"0")

    os.kill(stack.worker_pid(), signal.SIGKILL)
    run = client.finish(run_id)

    assert run["status"] == "COMPLETED", run["error"]
    assert run["retry_count"] == 1
    assert len(run["output"]) == 1


@pytest.mark.several_servers
def test_a_worker_that_freezes_and_thaws_cannot_report_over_its_successor(start_fake: StartFake, site: Origin) -> None:
    stack = start_fake(local_accelerators="CPU,CPU", local_min_workers="2", lease_s="3").wait_ready()
    client = stack.client()
    run_id = client.submit(fake_wait_as_told(), files={TOLD: site.put("/seconds", b"600")})
    client.wait_for(run_id, "status", state="running")
    site.put("/seconds", b"0")
    frozen = stack.worker_pid(client.get(run_id)["worker_id"])

    os.kill(frozen, signal.SIGSTOP)
    try:
        states = [data["state"] for kind, data, _ in client.events(run_id) if kind == "status"]
    finally:
        os.kill(frozen, signal.SIGCONT)

    assert states == ["queued", "assigned", "running", "queued", "assigned", "running", "succeeded"]
    # Thawed, it finds its lease gone, and is of use again.
    for _ in range(4):
        assert client.run(fake_wait(0.1))["status"] == "COMPLETED"
    after = [data["state"] for kind, data, _ in client.events(run_id) if kind == "status"]
    assert after == states
