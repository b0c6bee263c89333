"""An admin creates an environment, sees a revision built, failing, tried again and ready, promotes it and goes back."""

from __future__ import annotations

import base64

import pytest
from playwright.sync_api import Dialog, Page, expect

from comfyward.store import environments
from comfyward.store.db import now_ms
from tests.attacks.environment_lab import Lab, report
from tests.stack.conftest import StartFake
from tests.stack.stack import Stack
from tests.stack.web.conftest import LIMIT_MS, Enter, by_keyboard
from tests.stack.web.environments import COLORAMA, MASKS, TOOLING, imported, locked, spec_of

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once(fleet="none")


def confirm(page: Page, button: str) -> str:
    """Presses a button and says yes. Returns the question."""
    asked: list[str] = []

    def yes(dialog: Dialog) -> None:
        asked.append(dialog.message)
        dialog.accept()

    page.once("dialog", yes)
    by_keyboard(page.get_by_role("button", name=button, exact=True).first)
    page.wait_for_load_state()
    return asked[0]


def test_from_a_name_to_the_current_revision_and_back(stack: Stack, enter: Enter) -> None:
    expect.set_options(timeout=LIMIT_MS)
    lab, page = Lab(stack), enter(stack, None)
    page.get_by_role("link", name="Environments").click()
    page.get_by_text("No environments yet.").wait_for()
    page.get_by_label("Name").fill(lab.name)
    page.get_by_label("ComfyUI", exact=True).fill("0.3.75")
    page.get_by_role("button", name="Create").click()
    page.wait_for_url(f"**/environments/{lab.name}/edit")
    page.goto(f"/environments/{lab.name}")
    page.get_by_text("No revision yet. Lock it to make the first one").wait_for()

    stack.write(environments.change_spec, lab.name, spec_of(), spec_of(TOOLING), now_ms())
    packs = (locked(TOOLING), locked(MASKS, install_script="0" * 64))
    first = lab.revision("1", spec=spec_of(TOOLING, MASKS), locked=packs, packages=(COLORAMA,))
    revision = page.get_by_role("listitem", name="Revision 1")
    expect(revision.get_by_text("locked")).to_be_visible()
    question = confirm(page, "Promote without a trial")
    assert "No worker that could try it is present" in question
    expect(page.get_by_role("heading", level=1)).to_contain_text("revision 1 is current")

    second = lab.revision("2", spec=spec_of(TOOLING), locked=packs[:1], packages=(COLORAMA,))
    worker = lab.worker()
    by_keyboard(page.get_by_role("listitem", name="Revision 2").get_by_role("button", name="Try"))
    revision = page.get_by_role("listitem", name="Revision 2")
    expect(revision).to_contain_text("Waiting for a worker to build it.")
    assert report(worker, second, "building", step="Installing packages", part=0.25).status_code == 200
    expect(revision).to_contain_text("Installing packages, 25 %")
    expect(revision.get_by_role("progressbar")).to_have_attribute("value", "0.25")
    expect(revision.get_by_role("button", name="Try")).to_have_count(0)

    sentence = "comfyui-tooling-nodes did not import: No module named 'x'"
    broken = {"folder": "comfyui-tooling-nodes", "imported": False, "error": "No module named 'x'\nTraceback"}
    lab.tried(worker, second, ready=False, message=sentence, hint="Traceback of x", packs=[broken])
    report(worker, second, "failed", message=sentence, hint="Traceback of x")
    expect(revision.locator(".failure")).to_have_text(sentence)
    by_keyboard(page.get_by_role("link", name="Revision 2"))
    expect(page.locator(".problem pre")).to_have_text("Traceback of x")
    changes = page.get_by_role("region", name="Changes", exact=True)
    expect(changes).to_contain_text("masks")
    expect(changes).to_contain_text("removed")

    page.get_by_role("link", name=lab.name, exact=True).click()
    by_keyboard(page.get_by_role("button", name="Try again"))
    expect(revision).to_contain_text("Waiting for a worker to build it.")
    told = imported("comfyui-tooling-nodes", "ETN_CropImage", "ETN_MaskToImage")
    assert (
        lab.tried(
            worker, second, ready=True, packs=[told], picture=base64.b64encode(PIXEL).decode(), classes=2
        ).status_code
        == 204
    )
    report(worker, second, "ready")
    expect(revision.get_by_role("button", name="Promote", exact=True)).to_be_visible()
    confirm(page, "Promote")
    expect(page.get_by_role("heading", level=1)).to_contain_text("revision 2 is current")
    pack = page.locator(".pack", has_text="comfyui-tooling-nodes")
    expect(pack).to_contain_text("imported")
    expect(pack).to_contain_text("2 classes")
    by_keyboard(page.get_by_role("link", name="Revision 2"))
    shown = page.get_by_alt_text("The picture that its ComfyUI made in a trial")
    assert shown.evaluate("image => image.decode().then(() => image.naturalWidth)") == 1

    page.goto("/environments")
    card = page.get_by_role("region", name=lab.name)
    expect(card).to_contain_text("revision 2 is current")
    expect(card).to_contain_text("x: ready")
    page.goto(f"/environments/{lab.name}")
    button = page.get_by_role("button", name="Roll back to revision 1")
    button.focus()
    for _ in range(2):
        with page.expect_response(f"**/environments/{lab.name}?all=1"):
            pass  # the list is drawn anew, under the reader's hands
    expect(button).to_be_focused()
    assert "queued and running ones keep theirs" in confirm(page, "Roll back to revision 1")
    expect(page.get_by_role("heading", level=1)).to_contain_text("revision 1 is current")
    assert lab.shown()["current"] == 1
    assert first in lab.shown()["revisions"][1]["targets"].values()
