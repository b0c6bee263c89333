"""A run can be cancelled while it is queued, while its files are fetched, and while it executes."""

import threading

import pytest

from tests.fakes.http import Origin
from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save, fake_wait
from tests.stack.stack import END_TIMEOUT_S, Client, Stack


@pytest.mark.several_servers
def test_cancel_a_queued_run(start_fake: StartFake) -> None:
    client = start_fake(fleet="none", accelerators="L4").client()  # no worker is there, so the run waits
    run_id = client.submit(fake_save(), accelerator="L4")

    cancelled = client.cancel(run_id)

    assert (cancelled["status"], cancelled["end_reason"]) == ("ERROR", "cancelled")
    assert cancelled["run_time"] is None


@pytest.mark.several_servers
def test_cancel_a_run_whose_files_are_being_fetched(tenant: Client, site: Origin) -> None:
    silent = threading.Event()  # the file's server says nothing while this is not set
    url = site.put("/slow", b"x" * 100, hold=silent)
    run_id = tenant.submit(fake_save("slow.txt"), files={"/input/slow.txt": url})
    assert site.asked.get(timeout=120) == "/slow"

    tenant.cancel(run_id)
    run = tenant.finish(run_id)
    next_run = tenant.run(fake_save("next"))
    silent.set()

    assert (run["status"], run["end_reason"], run["started_at"]) == ("ERROR", "cancelled", None)
    assert next_run["status"] == "COMPLETED"  # the worker is free


@pytest.mark.several_servers
def test_cancel_a_running_run_stops_it_at_its_next_step(shared: Stack, tenant: Client) -> None:
    run_id = tenant.submit(fake_wait(2 * END_TIMEOUT_S))
    tenant.wait_for(run_id, "progress")
    comfyui = shared.comfyui_pid()

    tenant.cancel(run_id)
    run = tenant.finish(run_id)

    assert (run["status"], run["end_reason"]) == ("ERROR", "cancelled")
    assert run["output"] == {"error": run["output"]["error"], "output": {"error": run["output"]["error"]}}
    assert tenant.run(fake_save("next"))["status"] == "COMPLETED"  # the worker is free
    assert shared.comfyui_pid() == comfyui  # it listened, and was not killed


def test_cancelling_a_finished_run_changes_nothing(tenant: Client) -> None:
    run = tenant.run(fake_save())

    assert tenant.cancel(run["id"])["status"] == "COMPLETED"
