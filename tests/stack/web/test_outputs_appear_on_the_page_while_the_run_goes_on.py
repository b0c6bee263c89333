"""Outputs of a node appear when it has finished, without a reload, and stay when the run is cancelled."""

import threading

from playwright.sync_api import expect

from tests.fakes.http import Origin
from tests.stack.graphs import node
from tests.stack.stack import Stack
from tests.stack.web.conftest import Enter


def test_without_a_reload(shared: Stack, enter: Enter, account: str, site: Origin) -> None:
    client, page = shared.client(account), enter(shared, account)
    graph = {"2": node("FakeSave", text="early"), "3": node("FakeWait", seconds=600)}
    begins = threading.Event()

    run_id = client.submit(graph, files={"/input/begins": site.put("/begins", b"now", hold=begins)})
    page.goto(f"/runs/{run_id}")
    expect(page.locator("#outputs figure")).to_have_count(0)
    page.evaluate("document.body.dataset.same = 'yes'")
    begins.set()

    expect(page.get_by_role("link", name="fake_00001_.txt")).to_be_visible()
    expect(page.locator("#outputs figure pre")).to_have_text("early")
    expect(page.locator("[data-node-title]")).to_be_visible()  # and the progress is still shown
    assert page.evaluate("document.body.dataset.same") == "yes"
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("The run did not succeed.")).to_be_visible()
    expect(page.get_by_role("link", name="fake_00001_.txt")).to_be_visible()
