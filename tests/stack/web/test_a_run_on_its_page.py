"""A run's page while it goes on: its steps move, it can be cancelled; a list shows the same without a reload."""

import re

import pytest
from playwright.sync_api import Route

from tests.stack.graphs import picture, slow
from tests.stack.stack import Stack
from tests.stack.web.conftest import Enter

STREAM = re.compile(r"/live\?since=")


@pytest.mark.several_servers
def test_progress_is_seen_and_cancel_ends_it(real: Stack, enter: Enter, account: str) -> None:
    client, page = real.client(account), enter(real, account)
    listed = page.context.new_page()
    listed.goto("/runs")
    run_id = client.submit(slow(5000))

    page.goto(f"/runs/{run_id}")
    page.locator("[data-node-step]", has_text="of 5000").wait_for()
    first = page.locator("[data-node-step]").inner_text()
    page.locator("[data-node-step]").filter(has_not_text=first).wait_for()
    listed.locator(f"#run-{run_id} .badge", has_text="running").wait_for()
    page.get_by_role("button", name="Cancel").click()

    page.locator("h1 .badge", has_text="cancelled").wait_for()
    listed.locator(f"#run-{run_id} .badge", has_text="cancelled").wait_for()
    assert client.get(run_id)["end_reason"] == "cancelled"

    # Over, it can be run again, looked through with keys, and deleted.
    page.get_by_role("button", name="Run again").click()
    page.wait_for_url(lambda url: run_id not in url)
    page.get_by_role("button", name="Cancel").click()
    page.locator("h1 .badge", has_text="cancelled").wait_for()
    page.keyboard.press("j")
    page.wait_for_url(f"**/runs/{run_id}")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete").click()
    page.wait_for_url("**/workflows/*")
    assert page.locator(f"#run-{run_id}").count() == 0


def test_nothing_is_missed_between_a_page_and_its_stream(real: Stack, enter: Enter, account: str) -> None:
    client, page = real.client(account), enter(real, account)
    held: list[Route] = []
    page.route(STREAM, lambda route: held.append(route))
    with page.expect_request(STREAM):
        page.goto("/runs", wait_until="domcontentloaded")

    page.get_by_text("No runs yet").wait_for()
    run_id = client.run(picture(0x010203))["id"]
    held[0].continue_()

    page.locator(f"#run-{run_id} .badge", has_text="done").wait_for()


def test_filters_of_the_list(real: Stack, account: str) -> None:
    client, visitor = real.client(account), real.visitor(account)
    run_id = client.submit(slow(4000))
    client.wait_for(run_id, "progress")

    def listed(query: str) -> bool:
        answer = visitor.get(f"/runs?{query}")
        assert answer.status_code == 200, answer.text
        return run_id in answer.text

    key = visitor.get("/api/v1/runs").json()[0]["api_key_id"]
    assert listed("status=active")
    assert listed(f"key={key}&accelerator=CPU&since=2020-01-01")
    assert not listed("status=done")
    assert not listed("accelerator=L4")
    assert not listed("until=2020-01-01")
    assert visitor.get("/runs?since=yesterday").status_code == 400
    client.cancel(run_id)


def test_times_are_in_the_readers_zone(real: Stack, enter: Enter, account: str) -> None:
    run = real.client(account).run(picture())
    shown = {}
    for zone in ("Asia/Tokyo", "America/New_York"):
        page = enter(real, account, timezone_id=zone, locale="en-GB")
        page.goto(f"/runs/{run['id']}")
        time = page.locator("dl time").first
        assert time.get_attribute("datetime") == run["created_at"]
        shown[zone] = time.get_attribute("title")

    assert "GMT+9" in str(shown["Asia/Tokyo"])
    assert "GMT-" in str(shown["America/New_York"])
