"""The first evening: the link that `serve` prints, a password, a workflow, a picture made in ComfyUI's own editor."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.stack.graphs import picture
from tests.stack.stack import Stack
from tests.stack.web.conftest import LIMIT_MS, SAVED, editor_of, until


@pytest.fixture
def fresh(engine: dict[str, str], tmp_path: Path) -> Iterator[Stack]:
    """A server at its first start, with the real ComfyUI."""
    stack = Stack(tmp_path / "fresh", engine)
    yield stack.start().wait_ready()
    stack.close()


def test_from_the_first_link_to_a_picture(fresh: Stack, browser: Browser) -> None:
    link = re.search(r"/enter/\S+", (fresh.data_dir / "server.log").read_text())
    assert link is not None
    context = browser.new_context(base_url=fresh.url)
    page = context.new_page()
    page.set_default_timeout(LIMIT_MS)

    page.goto(link[0])
    page.get_by_label("Choose a password").fill("correct horse battery")
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("link", name="New workflow").click()
    page.get_by_label("Name").fill("First evening")
    page.get_by_role("button", name="Create workflow").click()

    editor = editor_of(page)
    editor.evaluate("graph => window.app.loadApiJson(graph, 'test')", picture(0x3366FF, size=96))
    page.get_by_role("button", name="Save to this workflow").click()
    editor.evaluate("() => window.app.queuePrompt(0, 1)")
    until(editor, "window.app.graph.nodes.some(node => node.imgs?.length && node.imgs[0].naturalWidth === 96)")
    assert page.get_by_role("heading", name="First evening").is_visible()

    # It saved by itself: the workflow's page has its form and its run, and the editor opens with the graph.
    page.locator("[data-saved]", has_text=SAVED).wait_for()
    with page.expect_response(lambda answer: answer.request.method == "PATCH" and answer.ok):
        editor.evaluate("() => { window.app.graph.nodes[0].widgets[0].value = 128 }")
    page.get_by_role("link", name="Back to First evening").click()
    assert page.get_by_label("Empty Image: width").input_value() == "128"
    page.locator(".rows .row .badge", has_text="done").wait_for()
    page.get_by_role("link", name="Open in editor").click()
    assert editor_of(page).evaluate("window.app.graph.nodes.map(node => node.type).sort()") == [
        "EmptyImage",
        "SaveImage",
    ]

    # The link worked once; the password lets the admin in from now on.
    page.goto(link[0])
    assert "has already been used or has expired" in page.content()
    page.goto("/workflows")
    page.get_by_role("button", name="Log out").click()
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill("correct horse battery")
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/workflows")
    assert page.get_by_text("First evening").is_visible()
    context.close()
