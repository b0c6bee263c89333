"""Scripts of others in the editor use the workflow that is open, and nothing else.

No cookie, no key, no other workflow, no page or API of the website, no other host, and nothing that outlives its page.
A real browser runs one of a pack whose scripts an admin allowed.
"""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Dialog

from tests.attacks.environment_lab import Lab
from tests.fakes.http import origin
from tests.stack.graphs import picture
from tests.stack.stack import Stack
from tests.stack.web.conftest import Enter, editor_of, until

SCRIPT = (Path(__file__).parent / "hostile.js").read_text()


def test_what_a_hostile_script_gets(real: Stack, enter: Enter, account: str) -> None:
    client, page = real.client(account), enter(real, account, color_scheme="light")  # a context of its own
    lab = Lab(real)
    other = client.http.post("/api/v1/workflows", json={"name": "Other", "prompt": picture()}).json()["id"]
    run = client.finish(client.post_run({"prompt": picture(0x123456)}, other).json()["id"])
    file = run["output"][0]["filename"].rpartition("/")[2]
    assert client.http.get("/comfy/view", params={"filename": file}).status_code == 200
    dialogs: list[str] = []

    def refuse(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", refuse)

    with origin() as stranger:
        known = {"site": real.url, "stranger": stranger.url, "other": other, "file": file}  # all that it could guess
        script = SCRIPT.replace("HOSTILE", json.dumps(known), 1)
        lab.promoted({"hostile": True}, {"hostile/hostile.js": script, "hostile/worker.js": "self.onfetch = () => {};"})
        made = client.http.post("/api/v1/workflows", json={"name": "Opened", "environment": lab.name})
        opened = made.json()["id"]
        page.goto(f"/workflows/{opened}/edit")
        editor = editor_of(page)
        assert urlsplit(editor.url).netloc.endswith(f".{urlsplit(real.editor_url).netloc}")
        until(editor, "window.hostile")
        got = editor.evaluate("window.hostile")
        asked = stranger.requests

    allowed = {"own workflow": "200,200", "history": "{},{}"}
    assert {name: got[name] for name in allowed} == allowed
    refusals = ("refused", "403", "404", "nothing", "401")
    reached = {
        name: value
        for name, value in got.items()
        if name not in allowed and not all(part.startswith(refusals) for part in str(value).split(","))
    }
    assert reached == {}
    assert asked == []
    assert (page.url, dialogs) == (f"{real.url}/workflows/{opened}/edit", [])
    assert len(page.context.pages) == 1
    assert client.http.get(f"/api/v1/workflows/{other}").json()["prompt"] == picture()


def test_scripts_of_other_origins_are_not_heard(real: Stack, enter: Enter, account: str) -> None:
    """The page takes messages of the editor's window alone, and the editor those of the page's."""
    client, page = real.client(account), enter(real, account)
    made = client.http.post("/api/v1/workflows", json={"name": "Mine", "prompt": picture()}).json()["id"]
    page.goto(f"/workflows/{made}/edit")
    editor = editor_of(page)

    page.evaluate("() => postMessage({ comfyward: 'state', is: 'other' }, '*')")  # of this window, not the editor's
    editor.evaluate("() => postMessage({ comfyward: 'address', path: '/elsewhere/' }, '*')")  # not of the page's
    base = editor.evaluate("new Promise((done) => setTimeout(() => done(window.app.api.api_base)))")

    assert base.endswith("/comfy")
    assert page.get_by_role("button", name="Save to this workflow").is_hidden()
