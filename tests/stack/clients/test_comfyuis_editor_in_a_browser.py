"""ComfyUI's real editor in a real browser: it loads, queues a prompt, shows progress and the picture.

The newest below a workflow's path, entered with a key; the one that the installed ComfyUI asks for at the native port.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.stack.browser import BROWSER, FLAGS
from tests.stack.graphs import node
from tests.stack.stack import Client, Stack

LIMIT_MS = 90_000


def graph(steps: int) -> dict[str, Any]:
    """Steps that no cache of another test can answer, and a picture."""
    return {
        "1": node("TestSteps", steps=steps),
        "2": node("EmptyImage", width=32, height=32, batch_size=1, color=0x00FF00),
        "3": node("ImageBatch", image1=["1", 0], image2=["2", 0]),
        "4": node("SaveImage", images=["3", 0], filename_prefix="browser"),
    }


@pytest.fixture
def page() -> Iterator[Page]:
    if BROWSER is None:
        pytest.skip("Chromium is not installed: ComfyUI's editor is not tried in a browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        opened = browser.new_page()
        opened.set_default_timeout(LIMIT_MS)
        yield opened
        browser.close()


def enter(page: Page, url: str) -> None:
    """Opens the editor by a link with a key, which asks first."""
    page.goto(url)
    page.get_by_role("button", name="Continue as").click()


def queue_and_watch(page: Page, steps: int) -> dict[str, Any]:
    """In the open editor, queues the graph; returns what the editor heard and the pictures that it shows."""
    page.wait_for_function("window.app && window.app.graph && window.app.canvas && window.app.api")
    page.evaluate("graph => window.app.loadApiJson(graph, 'test')", graph(steps))
    page.evaluate(
        """() => { window.heard = [];
        for (const kind of ['execution_start', 'progress', 'executed', 'execution_success', 'execution_error'])
            window.app.api.addEventListener(kind, (event) => window.heard.push([kind, event.detail])) }"""
    )
    page.evaluate("() => window.app.queuePrompt(0, 1)")
    page.wait_for_function("window.heard.some(([kind]) => kind.startsWith('execution_') && kind !== 'execution_start')")
    page.wait_for_function("window.app.graph.nodes.some(node => node.imgs?.length && node.imgs[0].naturalWidth)")
    heard: list[Any] = page.evaluate("window.heard")
    shown = page.evaluate("window.app.graph.nodes.flatMap(n => (n.imgs ?? []).map(i => [i.naturalWidth, i.src]))")
    return {"heard": heard, "shown": shown}


def check(seen: dict[str, Any], last_step: int) -> None:
    kinds = [kind for kind, _ in seen["heard"]]
    steps = [data["value"] for kind, data in seen["heard"] if kind == "progress"]
    assert kinds[0] == "execution_start"
    assert kinds[-1] == "execution_success"
    assert kinds.index("executed") < kinds.index("execution_success")
    assert steps[-1] == last_step
    assert steps == sorted(steps)
    assert seen["shown"]
    assert "/view?" in seen["shown"][0][1]


def test_the_newest_editor_at_a_workflow(real: Stack, client: Client, page: Page) -> None:
    enter(page, f"{real.url}/workflows/default/comfy/?token={client.key}")
    seen = queue_and_watch(page, 18)

    check(seen, 18)
    assert "token" not in page.url
    newest = client.http.get("/api/v1/runs", params={"limit": 1}).json()[0]
    assert newest["status"] == "COMPLETED"
    assert newest["data"]["extra_data"]["extra_pnginfo"]["workflow"]["nodes"]


@pytest.mark.engine
def test_comfyuis_own_editor_at_the_native_port(real: Stack, page: Page) -> None:
    page.goto(real.native_url)
    check(queue_and_watch(page, 19), 19)


def test_a_cancelled_job_is_not_called_failed(real: Stack, client: Client, page: Page) -> None:
    enter(page, f"{real.url}/workflows/default/comfy/?token={client.key}")
    page.wait_for_function("window.app && window.app.graph && window.app.canvas && window.app.api")
    page.evaluate("graph => window.app.loadApiJson(graph, 'test')", graph(100_000))
    page.evaluate(
        """() => { const words = window.said = new Set(), heard = window.heard = new Set();
        new MutationObserver(() => document.body.innerText.match(/Job \\w+/g)?.forEach((each) => words.add(each)))
            .observe(document.body, {childList: true, subtree: true, characterData: true});
        for (const kind of ['execution_start', 'progress', 'execution_interrupted', 'execution_error'])
            window.app.api.addEventListener(kind, () => heard.add(kind));
        window.app.api.addEventListener('progress', () => window.app.api.interrupt(null), {once: true}) }"""
    )
    page.evaluate("() => window.app.queuePrompt(0, 1)")

    page.wait_for_function("window.heard.has('execution_interrupted')")
    page.wait_for_function("window.said.has('Job cancelled')")  # it vanishes by itself, so the observer remembers it
    assert "Job failed" not in page.evaluate("[...window.said]")


def test_without_a_key_the_page_says_how_to_enter(real: Stack, page: Page) -> None:
    answer = page.goto(f"{real.url}/workflows/default/comfy/")

    assert answer is not None
    assert answer.status == 401
    assert "token=" in page.content()
