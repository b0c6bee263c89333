"""A real browser for the website's scenarios. Whatever a page logs as an error, or asks of another host, fails them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import count

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Frame, Page, sync_playwright

from tests.stack.browser import BROWSER, FLAGS
from tests.stack.clients.conftest import node_clients, python_clients
from tests.stack.stack import Stack

__all__ = ["node_clients", "python_clients"]

LIMIT_MS = 60_000

SAVED = re.compile(r"^Saved")  # what the editor's bar says then; "Not saved" it says too
REFUSALS = re.compile(r"status of (4|503)|ERR_(CONNECTION_RE|INTERNET_DISCONNECTED)|htmx:(sendError|afterRequest)")

_numbers = count(1)

Enter = Callable[..., Page]


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Launched once. Playwright runs an event loop in this thread, so no test of this folder may be asynchronous."""
    if BROWSER is None:
        pytest.skip("Chromium is not installed: the website is not tried in a browser")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def account() -> str:
    """A name that no other test has."""
    return f"visitor-{next(_numbers)}"


@pytest.fixture
def enter(browser: Browser) -> Iterator[Enter]:
    """Opens a browser window and enters a server's website by a one-time link."""
    opened = []
    problems: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        # What ComfyUI's editor says is not ours; nor are refusals, and the silence of a server or a line that is down.
        url = str(message.location.get("url", ""))
        is_ours = url.startswith("http://127.0.0.1") and "/comfy/" not in url and "/live" not in url
        if message.type == "error" and is_ours and not REFUSALS.search(message.text):
            problems.append(f"{url}: {message.text}")

    def open_window(stack: Stack, account: str, **look: object) -> Page:
        context = browser.new_context(base_url=stack.url, permissions=["clipboard-read", "clipboard-write"], **look)
        opened.append(context)
        page = context.new_page()
        page.set_default_timeout(LIMIT_MS)
        page.on("console", heard)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(stack.login_link(account))
        page.get_by_role("button", name="Continue").click()
        page.wait_for_url("**/workflows")
        return page

    yield open_window
    for context in opened:
        context.close()
    assert problems == []


def editor_of(page: Page) -> Frame:
    """ComfyUI's editor on the page, once it has loaded its graph."""
    page.wait_for_selector("body[data-loaded]", timeout=90_000)
    frame = page.locator("iframe").element_handle().content_frame()
    assert frame is not None
    return frame
