"""ComfyUI's real editor in Chromium, with a catalog in the place of a ComfyUI: what it sends for a workflow.

Nothing is listened on: whatever the page asks for is answered here.
"""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from playwright.sync_api import Page, Route, WebSocketRoute, sync_playwright

from tests.stack.browser import BROWSER, FLAGS

ORIGIN = "http://localhost"
LIMIT_MS = 120_000
NOW = "2026-03-04T05:06:07"  # by the clock of the page, which is in UTC
NOW_AT = datetime.fromisoformat(NOW)
ANSWERS: dict[str, Any] = {
    "/api/users": {"storage": "server", "migrated": True},
    "/api/settings": {"Comfy.TutorialCompleted": True, "Comfy.Workflow.ShowMissingModelsWarning": False},
    "/api/extensions": [],
    "/api/system_stats": {"system": {"comfyui_version": "0.30.0", "argv": []}, "devices": []},
    "/api/i18n": {},
    "/api/features": {},
    "/api/embeddings": [],
    "/api/userdata": [],
    "/api/v2/userdata": [],
    "/api/global_subgraphs": {},
    "/api/node_replacements": {},
    "/api/workflow_templates": {},
    "/api/queue": {"queue_running": [], "queue_pending": []},
    "/api/history": {},
    "/api/jobs": {"jobs": [], "pagination": {"offset": 0, "limit": 0, "total": 0, "has_more": False}},
    "/api/experiment/models": [],
}
SENT = """async ({graph}) => {
  const random = Math.random
  try {
    await window.app.loadGraphData(graph)
    await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 0))))
    Math.random = () => 0
    return {sent: JSON.parse(JSON.stringify((await window.app.graphToPrompt()).output))}
  } catch (error) {
    return {failed: String(error)}
  } finally {
    Math.random = random
  }
}"""
TITLES = """() => Object.fromEntries(
  Object.entries(window.LiteGraph.registered_node_types).map(([name, known]) => [name, known.title])
)"""


class RealEditor:
    def __init__(self, page: Page) -> None:
        self._page = page

    def sends(self, graph: Any) -> Any:
        """{"sent": the API's graph}, or {"failed": its error}."""
        return self._page.evaluate(SENT, {"graph": graph})

    def titles(self) -> dict[str, str]:
        """The names that it shows for classes, in its own language."""
        return dict(self._page.evaluate(TITLES))


@contextmanager
def real_editor(static: Path, nodes: dict[str, Any]) -> Iterator[RealEditor]:
    """The editor whose files are in a folder, for the classes of a catalog (`nodes` of /object_info)."""
    answers = ANSWERS | {"/api/object_info": nodes}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        page = browser.new_context(base_url=ORIGIN, timezone_id="UTC").new_page()
        page.set_default_timeout(LIMIT_MS)
        page.route("**/*", lambda route: _answer(route, static, answers))
        page.route_web_socket("**/ws*", _greet)
        page.goto(f"{ORIGIN}/")
        page.wait_for_function("window.app && window.app.graph && window.app.canvas && window.app.api")
        page.wait_for_function("Object.keys(window.LiteGraph.registered_node_types).length > 10")
        page.clock.set_fixed_time(NOW)
        yield RealEditor(page)
        browser.close()


def _answer(route: Route, static: Path, answers: dict[str, Any]) -> None:
    path = unquote(urlsplit(route.request.url).path)
    file = static / (path.removeprefix("/") or "index.html")
    if path in answers:
        route.fulfill(body=json.dumps(answers[path]), content_type="application/json")
    elif file.is_file():
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        route.fulfill(body=file.read_bytes(), content_type=kind)
    else:
        route.fulfill(status=404, body="{}", content_type="application/json")


def _greet(socket: WebSocketRoute) -> None:
    status = {"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 0}}, "sid": "page"}}
    socket.send(json.dumps(status))
