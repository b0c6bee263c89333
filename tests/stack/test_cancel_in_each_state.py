"""A run can be cancelled while it is queued, while its files are fetched, and while it executes."""

import threading
import time

import pytest

from tests.fakes.http import Origin
from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save, fake_wait
from tests.stack.stack import Client

pytestmark = pytest.mark.several_servers


def test_cancel_a_queued_run(start_fake: StartFake) -> None:
    client = start_fake(fleet="none", accelerators="L4").client()  # no worker is there, so the run waits
    run_id = client.submit(fake_save(), accelerator="L4")

    cancelled = client.cancel(run_id)

    assert (cancelled["status"], cancelled["end_reason"]) == ("ERROR", "cancelled")
    assert cancelled["run_time"] is None


def test_cancel_a_run_whose_files_are_being_fetched(tenant: Client, site: Origin) -> None:
    release = threading.Event()
    url = site.put("/slow", b"x" * 100, hold=release)
    run_id = tenant.submit(fake_save("slow.txt"), files={"/input/slow.txt": url})
    assert site.asked.get(timeout=30) == "/slow"

    began = time.monotonic()
    tenant.cancel(run_id)
    run = tenant.finish(run_id)  # the server of the file is still silent
    assert time.monotonic() - began < 1.5
    release.set()

    assert (run["status"], run["end_reason"], run["started_at"]) == ("ERROR", "cancelled", None)


def test_cancel_a_running_run_stops_it_at_its_next_step(tenant: Client) -> None:
    run_id = tenant.submit(fake_wait(60))
    tenant.wait_for(run_id, "progress")

    began = time.monotonic()
    tenant.cancel(run_id)
    run = tenant.finish(run_id)

    assert (run["status"], run["end_reason"]) == ("ERROR", "cancelled")
    assert time.monotonic() - began < 1.5
    assert run["output"] == {"error": run["output"]["error"], "output": {"error": run["output"]["error"]}}
    assert tenant.run(fake_save("next"))["status"] == "COMPLETED"  # the worker is free


def test_cancelling_a_finished_run_changes_nothing(tenant: Client) -> None:
    run = tenant.run(fake_save())

    assert tenant.cancel(run["id"])["status"] == "COMPLETED"
