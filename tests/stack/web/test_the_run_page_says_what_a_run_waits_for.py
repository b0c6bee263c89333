"""A run's page says what the run does: it fetches files, it waits for the GPU behind another one, and has cost nothing
so far; a cancelled one was cancelled, which is no failure."""

from __future__ import annotations

import re
import threading

from playwright.sync_api import expect

from tests.fakes.http import Origin
from tests.stack.conftest import StartFake
from tests.stack.graphs import node
from tests.stack.web.conftest import Enter

LONG = {"1": node("FakeWait", seconds=600.0)}


def test_a_run_behind_another_one(start_fake: StartFake, site: Origin, enter: Enter) -> None:
    stack = start_fake(prices='{"CPU": 2.0}').wait_ready()
    client, page = stack.client(), enter(stack, None)
    first = client.submit(LONG)
    client.wait_for(first, "progress")

    # Nothing to fetch.
    second = client.submit(LONG)
    client.wait_for(second, "status", state="assigned")
    page.goto(f"/runs/{second}")
    page.locator("h1 .badge", has_text="waiting for GPU").wait_for()
    page.locator(".phases .now", has_text="waiting for GPU").wait_for()
    assert page.get_by_text("fetching").count() == 0
    facts = page.locator("dl.facts").first.inner_text()
    assert "\n0 credits so far" in facts
    page.goto("/runs")
    page.locator(f"#run-{second} .badge", has_text="waiting for GPU").wait_for()

    # Cancelled, it is neither red nor a failure.
    client.cancel(second)
    badge = page.locator(f"#run-{second} .badge", has_text="cancelled")
    badge.wait_for()
    page.goto(f"/runs/{second}")
    assert page.locator(".problem").count() == 0
    page.get_by_text("before it started").wait_for()
    red = page.get_by_role("button", name="Delete").evaluate("(button) => getComputedStyle(button).color")
    colours = page.evaluate("[...document.querySelectorAll('main *')].map((each) => getComputedStyle(each).color)")
    assert colours.count(red) == 1, "only the button that deletes is red"

    # With a file to fetch: fetching until it is there, then in line; both are seen without a reload.
    held = threading.Event()
    url = site.put("/style.bin", b"x" * 1000, hold=held)
    third = client.submit(LONG, files={"/input/style.bin": url})
    page.goto(f"/runs/{third}")
    page.locator("h1 .badge", has_text="fetching files").wait_for()
    held.set()
    page.locator("h1 .badge", has_text="waiting for GPU").wait_for()
    names = ["queued", "files", "waiting for GPU", "executing", "saving"]
    expect(page.locator(".phases .phase-name")).to_have_text(names)

    # What executes costs something already.
    page.goto(f"/runs/{first}")
    assert re.search(r"\d\.\d\d credits so far", page.locator("dl.facts").first.inner_text())
