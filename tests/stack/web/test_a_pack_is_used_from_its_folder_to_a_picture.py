"""A pack from its folder to a picture: an admin allows its scripts, its widget is in the editor and changes the run."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.command_line import comfyward
from tests.conftest import ROOT
from tests.stack.graphs import node
from tests.stack.stack import Stack
from tests.stack.waiting import until as waited
from tests.stack.web.conftest import LIMIT_MS, Enter, editor_of, until

PACK = "paints_with_a_button"
GRAPH = {
    "1": node("TestPaint", colour=0x000000),
    "2": node("SaveImage", images=["1", 0], filename_prefix="painted"),
}
WIDGETS = "window.app.graph.nodes.flatMap(({ widgets }) => widgets ?? [])"
BUTTON = f'{WIDGETS}.find(({{ name }}) => name === "Paint it red")'


@pytest.fixture
def stack(real: Stack) -> Iterator[Stack]:
    """The server of all pages; what is built on its host is removed again."""
    yield real
    for revision in real.client().http.get("/api/v1/environments/painting").json().get("revisions", []):
        shutil.rmtree(Path(real.settings["environments_dir"]) / revision["digest"], ignore_errors=True)


def environments(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    settings = {f"COMFYWARD_{name.upper()}": value for name, value in stack.settings.items()}
    command = ("environments", *arguments, "--data-dir", str(stack.data_dir))
    done = comfyward(*command, environment={**os.environ, **settings})
    assert done.returncode == 0, done.stderr
    return done


def test_a_packs_widget_changes_the_picture(stack: Stack, enter: Enter, account: str) -> None:
    expect.set_options(timeout=LIMIT_MS)
    for arguments in (
        ("create", "painting"),
        ("add", "painting", str(ROOT / "packs" / PACK)),
        ("build", "painting"),
        ("try", "painting"),
        ("promote", "painting"),
    ):
        environments(stack, *arguments)
    client = stack.client(account)
    made = client.http.post("/api/v1/workflows", json={"name": "Red", "prompt": GRAPH, "environment": "painting"})
    assert made.status_code == 201, made.text
    page, admin = enter(stack, account), enter(stack, None)
    page.goto(f"/workflows/{made.json()['id']}/edit")
    editor = editor_of(page)
    assert editor.evaluate(f"Boolean({BUTTON})") is False  # nobody has allowed its scripts yet

    admin.on("dialog", lambda dialog: dialog.accept())
    admin.goto("/environments/painting/edit")
    admin.get_by_role("button", name=f"Allow scripts of {PACK}").click()
    expect(admin.get_by_role("button", name=f"Forbid scripts of {PACK}")).to_be_visible()
    environments(stack, "lock", "painting")
    environments(stack, "promote", "painting")

    page.goto(f"/workflows/{made.json()['id']}/edit")
    editor = editor_of(page)
    until(editor, f"Boolean({BUTTON})")
    editor.evaluate(f"{BUTTON}.callback()")
    editor.evaluate("() => window.app.queuePrompt(0, 1)")

    (begun,) = waited(lambda found: len(found) == 1, lambda: client.http.get("/api/v1/runs").json())
    run = client.finish(begun["id"])
    assert run["status"] == "COMPLETED", run["error"]
    assert (run["environment"], run["environment_revision"]) == ("painting", 2)
    picture = Image.open(io.BytesIO(client.http.get(run["output"][0]["url"]).content))
    assert picture.convert("RGB").getpixel((5, 5)) == (255, 0, 0)
