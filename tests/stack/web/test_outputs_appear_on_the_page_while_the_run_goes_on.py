"""Outputs of a node appear when it has finished, without a reload, and stay when the run is cancelled."""

from playwright.sync_api import expect

from tests.stack.graphs import node
from tests.stack.stack import Stack
from tests.stack.web.conftest import Enter


def test_without_a_reload(shared: Stack, enter: Enter, account: str) -> None:
    client, page = shared.client(account), enter(shared, account)
    graph = {"1": node("FakeWait", seconds=3), "2": node("FakeSave", text="early"), "3": node("FakeWait", seconds=90)}

    run_id = client.submit(graph)
    page.goto(f"/runs/{run_id}")
    expect(page.locator("#outputs figure")).to_have_count(0)
    page.evaluate("document.body.dataset.same = 'yes'")

    expect(page.get_by_role("link", name="fake_00001_.txt")).to_be_visible()
    expect(page.locator("#outputs figure pre")).to_have_text("early")
    expect(page.locator("[data-node-title]")).to_be_visible()  # and the progress is still shown
    assert page.evaluate("document.body.dataset.same") == "yes"
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("The run did not succeed.")).to_be_visible()
    expect(page.get_by_role("link", name="fake_00001_.txt")).to_be_visible()
