"""A server that stands still (a paused machine, a stalled disk) loses nothing: the worker gives its lease up, and the
same ComfyUI runs the next attempt to its end, untouched by the interrupt of the first."""

import os
import signal
import time

import pytest

from tests.fakes.http import Origin
from tests.stack.conftest import StartFake
from tests.stack.graphs import TOLD, fake_wait_as_told

pytestmark = pytest.mark.several_servers

LEASE_S = 3


def test_the_run_is_tried_again_on_the_same_comfyui(start_fake: StartFake, site: Origin) -> None:
    stack = start_fake(lease_s=str(LEASE_S)).wait_ready()
    client = stack.client()
    run_id = client.submit(fake_wait_as_told(), files={TOLD: site.put("/seconds", b"600")})
    client.wait_for(run_id, "status", state="running")
    site.put("/seconds", b"0")
    assert stack.process is not None

    os.kill(stack.process.pid, signal.SIGSTOP)
    time.sleep(LEASE_S * 1.5)  # the scenario itself: a pause of this length
    os.kill(stack.process.pid, signal.SIGCONT)
    run = client.finish(run_id)

    assert (run["status"], run["attempt"], run["end_reason"]) == ("COMPLETED", 2, "completed")
