"""ComfyUI's editor without a network: it asks nobody but its server, logs no error, and shows nothing of others: no
sign-in, releases, support or installing; its templates open."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request

from tests.stack.graphs import picture
from tests.stack.stack import Stack
from tests.stack.web.conftest import editor_of
from tests.stack.web.test_incomplete_graphs_are_saved_with_the_reason import with_an_unknown_node

# The editor of ComfyUI 0.30.0 (1.47.12) says so of itself at each start, wherever it is served from.
ITS_OWN_FAULT = "ComfyApp graph accessed before initialization"
NO_FOCUS = "Blocked autofocusing"  # in a frame of another origin: a press gives it the focus


@pytest.fixture
def page(real: Stack, browser: Browser, account: str) -> Iterator[Page]:
    """A window that notes what its pages log as errors, and whom they ask."""
    context = browser.new_context(base_url=real.url)
    problems: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type == "error" and ITS_OWN_FAULT not in message.text and NO_FOCUS not in message.text:
            problems.append(f"{message.location.get('url')}: {message.text}")

    def asked(request: Request) -> None:
        own = (real.url, real.native_url, "data:", "blob:")
        is_editors = urlsplit(request.url).netloc.endswith(f".{urlsplit(real.editor_url).netloc}")
        if not (is_editors or request.url.startswith(own)):
            problems.append(f"asked {request.url}")

    context.on("console", heard)
    context.on("request", asked)
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(real.login_link(account))
    page.get_by_role("button", name="Continue").click()
    page.wait_for_url("**/workflows")
    yield page
    context.close()
    assert problems == []


def test_at_a_workflow(real: Stack, page: Page, account: str) -> None:
    client = real.client(account)
    made = client.http.post("/api/v1/workflows", json={"name": "Mine", "workflow": with_an_unknown_node()}).json()["id"]
    page.goto(f"/workflows/{made}/edit")
    editor = editor_of(page)
    page.wait_for_load_state("networkidle")

    # The panel of what is missing tells nobody to install into this server.
    editor.get_by_role("button", name="View details").click()
    editor.get_by_test_id("missing-node-card").wait_for()
    assert editor.locator("body").get_by_text("pip install").filter(visible=True).count() == 0
    assert editor.get_by_test_id("login-button").filter(visible=True).count() == 0
    assert editor.locator(".comfy-help-center-btn").filter(visible=True).count() == 0

    # Its menu.
    editor.locator("[data-testid=comfy-menu-button]").click()
    editor.get_by_role("menuitem", name="File").wait_for()
    assert editor.get_by_role("menuitem", name="Help").count() == 0
    page.keyboard.press("Escape")

    # Its commands, by whatever key or palette they are found.
    for command in ("Comfy.ContactSupport", "Comfy.User.OpenSignInDialog", "Comfy.Help.OpenComfyOrgDiscord"):
        editor.evaluate("id => window.app.extensionManager.command.execute(id)", command)
    assert len(page.context.pages) == 1
    assert editor.get_by_role("dialog").count() == 0

    # Its sidebar, with nothing kept in it yet, and the help of its nodes.
    for tab in ("assets", "node-library", "model-library", "workflows", "apps"):
        editor.get_by_test_id(f"{tab}-tab-button").click()
        page.wait_for_load_state("networkidle")
    editor.get_by_test_id("apps-tab-button").click()
    for path in ("/docs/SaveImage/en.md", "/extensions/test_nodes/docs/TestSteps/en.md"):
        found = client.http.get(f"/workflows/{made}/comfy{path}")
        assert (found.status_code, found.text.startswith("# ")) == (200, True), path

    # Its templates, without those of paid services.
    editor.evaluate("() => { window.app.extensionManager.command.execute('Comfy.BrowseTemplates') }")
    editor.get_by_role("dialog").locator("img").first.wait_for()
    page.wait_for_load_state("networkidle")
    pictures = (
        editor.get_by_role("dialog")
        .locator("img")
        .evaluate_all("images => images.filter(image => image.complete).map(image => image.naturalWidth)")
    )
    assert pictures
    assert all(pictures)
    assert editor.get_by_role("dialog").get_by_text("Nano Banana").count() == 0


def test_at_the_native_port(real: Stack, page: Page) -> None:
    page.goto(real.native_url)
    page.wait_for_function("window.app?.graph && window.app.canvas && window.app.vueAppReady !== false")
    page.wait_for_load_state("networkidle")
    assert page.locator(".comfy-help-center-btn").filter(visible=True).count() == 0


def test_requests_to_other_hosts_fail_as_offline(real: Stack, page: Page, account: str) -> None:
    made = real.client(account).http.post("/api/v1/workflows", json={"name": "Mine", "prompt": picture()}).json()["id"]
    page.goto(f"/workflows/{made}/edit")
    told = editor_of(page).evaluate(
        """async () => {
        const url = 'https://api.comfy.org/anything';
        const byFetch = await fetch(url).catch((error) => error.name);
        const byXhr = await new Promise((resolve) => { const request = new XMLHttpRequest(); request.open('POST', url);
            request.onerror = () => resolve('error'); request.onload = () => resolve('load'); request.send('{}') });
        const byScript = await new Promise((resolve) => { const script = document.createElement('script');
            script.onerror = () => resolve('error'); script.src = url; document.head.append(script) });
        const byFrame = await new Promise((resolve) => { const frame = document.createElement('iframe');
            frame.onerror = () => resolve('error'); frame.setAttribute('src', url); document.body.append(frame) });
        let bySocket; try { new WebSocket('wss://api.comfy.org/') } catch (error) { bySocket = error.name }
        return [byFetch, byXhr, byScript, byFrame, navigator.sendBeacon(url, 'x'), bySocket] }"""
    )
    assert told == ["TypeError", "error", "error", "error", False, "SecurityError"]
