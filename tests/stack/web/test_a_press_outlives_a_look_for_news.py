"""A press on a button of a list that looks for news all the time is not lost, however long it lasts."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from tests.attacks.environment_lab import Lab
from tests.attacks.raw_worker import catalog_of, graph_of, worker_of
from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save
from tests.stack.stack import Stack
from tests.stack.web.conftest import LIMIT_MS, Enter


@pytest.fixture
def stack(start_fake: StartFake) -> Stack:
    return start_fake(fleet="none", accelerators="L4")


def test_on_a_page_that_polls(stack: Stack, enter: Enter) -> None:
    lab, page = Lab(stack), enter(stack, None)
    lab.revision("1")
    page.goto(f"/environments/{lab.name}")

    page.get_by_role("button", name="Promote new revisions after good trials").hover()
    page.mouse.down()
    answered(page, f"**/environments/{lab.name}*")
    answered(page, f"**/environments/{lab.name}*")
    page.mouse.up()

    page.get_by_role("button", name="Promote by hand only").wait_for()
    assert lab.shown()["auto_promote"] is True


def test_on_a_run_of_a_list(stack: Stack, enter: Enter, account: str) -> None:
    client, page = stack.client(account), enter(stack, account)
    run_id = client.submit(fake_save(), accelerator="L4")
    page.goto("/runs")

    page.locator(f"#run-{run_id} > a").hover()
    page.mouse.down()
    client.cancel(run_id)
    answered(page, "**/runs/rows?*")
    answered(page, "**/runs/rows?*")
    page.mouse.up()

    page.wait_for_url(f"**/runs/{run_id}")


def test_on_the_page_of_a_run(stack: Stack, enter: Enter, account: str) -> None:
    client, page = stack.client(account), enter(stack, account)
    worker = worker_of(stack, "L4").joined(catalog_of("Paint"))
    run_id = client.submit(graph_of(), accelerator="L4")
    page.goto(f"/runs/{run_id}")

    page.get_by_role("button", name="Cancel").hover()
    page.mouse.down()
    with page.expect_response(f"**/runs/{run_id}"):
        lease = worker.assigned()["lease"]
    with page.expect_response(f"**/runs/{run_id}"):
        assert worker.report(lease, {"type": "started", "seq": 1}).status_code == 204
    page.mouse.up()

    page.get_by_role("button", name="Cancelling…").wait_for()


def answered(page: Page, address: str) -> None:
    """Waits for an answer to what a page asks by itself. With the next one, what came before has been drawn."""
    with page.expect_response(address, timeout=LIMIT_MS):
        pass
