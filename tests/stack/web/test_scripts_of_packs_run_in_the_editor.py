"""A pack's widget, made with what one of its routes answered, is in the editor.

A pack that is not allowed sends nothing, and one whose scripts do not load is named on the page.
"""

from __future__ import annotations

import msgspec
from playwright.sync_api import Request, expect

from tests.attacks.environment_lab import Lab, bring, staying
from tests.conftest import ROOT
from tests.stack.graphs import node
from tests.stack.stack import Stack
from tests.stack.web.conftest import Enter, editor_of, until

PACK = "extends_the_editor"
SCRIPT = (ROOT / "packs" / PACK / "web" / "js" / "dial.js").read_text()
DIAL = {
    "name": "TestDial",
    "display_name": "Dial",
    "description": "",
    "category": "test",
    "input": {"required": {"text": ["STRING", {}]}},
    "output": [],
    "output_name": [],
    "output_is_list": [],
    "output_node": True,
    "python_module": f"custom_nodes.{PACK}",
}
ABSOLUTE = """const form = new FormData();
form.append("image", new File(["a picture"], "absolute.png"));
const sent = await (await fetch("/upload/image", { method: "POST", body: form })).json();
window.seen = await (await fetch(`/view?filename=${sent.name}&type=input`)).text();
"""
CATALOG = msgspec.json.encode({"comfyui_version": "1", "nodes": {"TestDial": DIAL}})
# The bytes that came over the network for each file of a pack; 0 from the browser's cache.
FETCHED = """Object.fromEntries(performance.getEntriesByType("resource").filter(({ name }) => name.includes("/packs/"))
  .map(({ name, transferSize }) => [name.split("/extensions/")[1], transferSize]))"""
HAS_DIAL = "window.app.graph.nodes.some(({ widgets }) => widgets?.some((each) => each.value === 'from a route'))"


def test_a_packs_widget_is_there(real: Stack, enter: Enter, account: str) -> None:
    lab, client, page = Lab(real), real.client(account), enter(real, account)
    asked: list[str] = []

    def note(request: Request) -> None:
        asked.append(request.url)

    page.on("request", note)
    digest = lab.revision("1", packs={PACK: True, "broken": True, "quiet": False})
    worker = lab.worker()
    lab.has_ready(worker, digest, catalog=CATALOG)
    files = {
        f"{PACK}/dial.js": SCRIPT,
        f"{PACK} /extends/config.js": "export const label = 'from a route';",
        "broken/fine.js": "window.fine = true;",
        f"{PACK}/absolute.js": ABSOLUTE,
        "broken/broken.js": "import './missing.js';",
        "quiet/quiet.js": "window.quiet = true;",
    }
    assert bring(worker, digest, files).status_code == 204
    assert lab.post("promote").status_code == 200
    body = {"name": "Dial", "prompt": {"1": node("TestDial", text="a")}, "environment": lab.name}
    with staying(worker):
        made = client.http.post("/api/v1/workflows", json={**body, "accelerator": lab.name})
        assert made.status_code == 201, made.text
        page.goto(f"/workflows/{made.json()['id']}/edit")
        editor = editor_of(page)

        until(editor, HAS_DIAL)
        assert editor.evaluate("[window.fine, window.quiet]") == [True, None]
        until(editor, "window.seen === 'a picture'")
        assert not [url for url in asked if "quiet" in url]
        expect(page.locator("[data-scripts]")).to_have_text("Scripts that do not load here: broken")
        assert page.locator("iframe").get_attribute("allow") == "clipboard-write; fullscreen"

        page.reload()
        editor = editor_of(page)
        until(editor, HAS_DIAL)
        fetched = editor.evaluate(FETCHED)
        assert fetched[f"{PACK}/dial.js"] == 0, fetched
        assert all("/packs/" in url for url in asked if "dial.js" in url)
