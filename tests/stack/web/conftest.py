"""A real browser for the website's scenarios. Whatever a page logs as an error, or asks of another host, fails them."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Frame, Locator, Page, expect, sync_playwright

from tests.fakes.model_sites import Hub
from tests.stack.browser import BROWSER, FLAGS
from tests.stack.clients.conftest import node_clients, python_clients
from tests.stack.conftest import beside_of, kept, operators_models, real_settings
from tests.stack.stack import Stack
from tests.topology import Topology

__all__ = ["node_clients", "python_clients"]

LIMIT_MS = 60_000
expect.set_options(timeout=LIMIT_MS)  # else five seconds, which a busy machine needs for less

PRESS_MS = 400  # of a finger on a button: what the field before it does when it is left does not take the button away

PERMISSIONS = ["clipboard-read", "clipboard-write"]
STORED = "local_storage,indexeddb,service_workers,cache_storage"

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


@pytest.fixture(scope="session")
def real(
    request: pytest.FixtureRequest,
    hub: Hub,
    topology: Topology,
    engine: dict[str, str],
    tiny_models_dir: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    """As elsewhere, with one ComfyUI for all accounts: each scenario of a page has an account of its own."""
    with operators_models(tiny_models_dir) as models:
        settings = {**real_settings(engine, models), "isolation": "shared", "hugging_face_url": hub.url}
        yield from kept(Stack(tmp_path_factory.mktemp("real"), settings), beside_of(request, topology))


@pytest.fixture
def account() -> str:
    """A name that no other test has."""
    return f"visitor-{next(_numbers)}"


class Windows:
    """Contexts of the browser: one is kept for each server, since a new one fetches and compiles the editor anew."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._kept: dict[str, BrowserContext] = {}
        self._in_use: list[BrowserContext] = []

    def open(self, url: str, **look: object) -> Page:
        """A page without cookies or storage, in a context that no other page of the test is in."""
        context = None if look else self._kept.get(url)
        if context is None or context in self._in_use:
            context = self._browser.new_context(base_url=url, permissions=PERMISSIONS, **look)
            if not look:
                self._kept.setdefault(url, context)
        self._in_use.append(context)
        page = context.new_page()
        context.clear_cookies()
        session, editors = context.new_cdp_session(page), url.replace("127.0.0.1", "editor.localhost")
        for origin in (url, editors):
            session.send("Storage.clearDataForOrigin", {"origin": origin, "storageTypes": STORED})
        return page

    def close_pages(self) -> None:
        for context in self._in_use:
            if context in self._kept.values():
                for page in context.pages:
                    page.close()
            else:
                context.close()
        self._in_use.clear()

    def close(self) -> None:
        for context in self._kept.values():
            context.close()


@pytest.fixture(scope="package")
def windows(browser: Browser) -> Iterator[Windows]:
    with contextlib.closing(Windows(browser)) as windows:
        yield windows


@pytest.fixture
def enter(windows: Windows) -> Iterator[Enter]:
    """Opens a browser window and enters a server's website by a one-time link."""
    problems: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        # What ComfyUI's editor says is not ours; nor are refusals, and the silence of a server or a line that is down.
        url = str(message.location.get("url", ""))
        is_ours = url.startswith("http://127.0.0.1") and "/comfy/" not in url and "/live" not in url
        if message.type == "error" and is_ours and not REFUSALS.search(message.text):
            problems.append(f"{url}: {message.text}")

    def open_window(stack: Stack, account: str, **look: object) -> Page:
        page = windows.open(stack.url, **look)
        page.set_default_timeout(LIMIT_MS)
        page.on("console", heard)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(stack.login_link(account))
        page.get_by_role("button", name="Continue").click()
        page.wait_for_url("**/workflows")
        return page

    yield open_window
    windows.close_pages()
    assert problems == []


def follow(link: Locator) -> None:
    """Follows a link to another page, whose scripts have run then: what is pressed before them does without."""
    with link.page.expect_navigation():
        link.click()


def by_keyboard(element: Locator) -> None:
    """Presses a button, or follows a link, of a list that is drawn anew all the time: the focus goes to the new one of
    the same id, whereas a click gets lost that begins on an element and ends after it was replaced."""
    element.press("Enter")


def editor_of(page: Page) -> Frame:
    """ComfyUI's editor on the page, once it has loaded its graph."""
    page.wait_for_selector("body[data-loaded]", timeout=90_000)
    frame = page.locator("iframe").element_handle().content_frame()
    assert frame is not None
    return frame


def until(frame: Frame, expression: str) -> None:
    """Returns once an expression is true in the editor. Its policy forbids `eval`, with which Playwright waits."""
    deadline = time.monotonic() + 90
    while not frame.evaluate(expression):
        assert time.monotonic() < deadline, expression
        frame.page.wait_for_timeout(50)
