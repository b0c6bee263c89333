"""A run can be cancelled while it is queued, while its files are fetched, and while it executes."""

import threading
import time

import pytest

from tests.fakes.http import Origin
from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save, fake_wait

pytestmark = pytest.mark.several_servers


def test_cancel_a_queued_run(start_fake: StartFake) -> None:
    client = start_fake(fleet="none", accelerators="L4").client()  # no worker is there, so the run waits
    run_id = client.submit(fake_save(), accelerator="L4")

    cancelled = client.cancel(run_id)

    assert (cancelled["status"], cancelled["end_reason"]) == ("ERROR", "cancelled")
    assert cancelled["run_time"] is None


def test_cancel_a_run_whose_files_are_being_fetched(start_fake: StartFake, site: Origin) -> None:
    client = start_fake().wait_ready().client()
    release = threading.Event()
    url = site.put("/slow", b"x" * 100, hold=release)
    run_id = client.submit(fake_save("slow.txt"), files={"/input/slow.txt": url})
    assert site.asked.get(timeout=30) == "/slow"

    began = time.monotonic()
    client.cancel(run_id)
    run = client.finish(run_id)  # the server of the file is still silent
    assert time.monotonic() - began < 1.5
    release.set()

    assert (run["status"], run["end_reason"], run["started_at"]) == ("ERROR", "cancelled", None)


def test_cancel_a_running_run_stops_it_at_its_next_step(start_fake: StartFake) -> None:
    client = start_fake().wait_ready().client()
    run_id = client.submit(fake_wait(60))
    client.wait_for(run_id, "progress")

    began = time.monotonic()
    client.cancel(run_id)
    run = client.finish(run_id)

    assert (run["status"], run["end_reason"]) == ("ERROR", "cancelled")
    assert time.monotonic() - began < 1.5
    assert run["output"] == {"error": run["output"]["error"], "output": {"error": run["output"]["error"]}}
    assert client.run(fake_save("next"))["status"] == "COMPLETED"  # the worker is free


def test_cancelling_a_finished_run_changes_nothing(start_fake: StartFake) -> None:
    client = start_fake().wait_ready().client()
    run = client.run(fake_save())

    assert client.cancel(run["id"])["status"] == "COMPLETED"
