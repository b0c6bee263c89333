"""The page of models: found by what a header tells, described, deleted after a question, brought back. Also as pixels,
light and dark, on a phone and on a desktop; the other account sees nothing of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.stack.conftest import StartFake
from tests.stack.graphs import node
from tests.stack.stack import Stack
from tests.stack.test_models_as_a_library import png, safetensors, upload
from tests.stack.web.accessibility import SCREENS, axe_in, findings
from tests.stack.web.conftest import PRESS_MS, Enter

LOOKED_AT = os.environ.get("MODELS_LOOKED_AT")  # a folder for pictures of the pages, for whoever wants to look at them


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once().wait_ready()


@pytest.fixture
def filled(stack: Stack, account: str) -> str:
    """An account with a model that tells of itself, one that tells nothing, and a workflow that names the first."""
    client = stack.client(account)
    upload(client, "/models/loras/ink.safetensors", safetensors(account))
    upload(client, "/models/loras/ink.preview.png", png("red"))
    upload(client, "/models/checkpoints/" + "long-" * 20 + "name.safetensors", b"\xff" * 900)
    graph = {"1": node("LoadLora", lora_name="ink.safetensors")}
    client.http.post("/api/v1/workflows", json={"name": "Ink portraits", "prompt": graph})
    return account


def test_from_the_search_to_the_undone_deletion(stack: Stack, enter: Enter, filled: str) -> None:
    page = enter(stack, filled)
    page.get_by_role("link", name="Models", exact=True).click()
    page.locator("a.card", has_text="Ink").locator("img").wait_for()
    assert page.locator("a.card", has_text="long-long-").count() == 1
    page.get_by_role("searchbox").fill("ink drawing")
    page.get_by_role("status").get_by_text("1 model,").wait_for()
    expect(page.get_by_role("status").get_by_text("reading")).to_have_count(0)  # until then cards are drawn anew
    assert page.locator("a.card").count() == 1
    page.locator("a.card", has_text="Ink").click(delay=PRESS_MS)

    facts = page.locator("dl.facts")
    assert "SDXL" in facts.inner_text()
    assert "ink drawing" in facts.inner_text()
    page.get_by_role("link", name="Ink portraits").wait_for()
    page.get_by_label("Licence").fill("ask me")
    page.get_by_role("button", name="Save").click()
    page.locator("dl.facts", has_text="ask me").wait_for()

    asked: list[str] = []
    page.once("dialog", lambda dialog: (asked.append(dialog.message), dialog.accept()))
    page.get_by_role("button", name="Delete model").click()
    page.get_by_text("The model was deleted.").wait_for()
    assert asked == ["Delete ink.safetensors? 1 workflow will lack it."]
    assert page.locator("a.card", has_text="Ink").count() == 0
    page.get_by_role("button", name="Undo").click()
    page.locator("dl.facts", has_text="ask me").wait_for()


def test_another_account_sees_nothing_of_them(stack: Stack, enter: Enter, filled: str) -> None:
    page = enter(stack, f"{filled}-other")
    page.goto("/models")
    assert page.locator("a.card", has_text="Ink").count() == 0
    assert "ink" not in page.locator("#model-filters").inner_text().lower()
    visitor = stack.visitor(f"{filled}-other")
    assert visitor.get("/models/loras/ink.safetensors").status_code == 404
    for act, status in (("describe", 404), ("share", 403), ("delete", 404)):
        sent = {"path": "/models/loras/ink.safetensors", "title": "taken", "shared": "1"}
        assert visitor.post(f"/models/{act}", data=sent).status_code == status, act
    assert "Ink" in stack.visitor(filled).get("/models/loras/ink.safetensors").text


@pytest.mark.parametrize("screen", SCREENS)
def test_its_pages_are_accessible(stack: Stack, enter: Enter, filled: str, node_clients: Path, screen: str) -> None:
    axe = axe_in(node_clients)
    page = enter(stack, filled, viewport=SCREENS[screen])
    found = []
    for path in ("/models", "/models?q=nothing", "/models/loras/ink.safetensors"):
        found += findings(page, axe, path)
        for scheme in ("light", "dark") if LOOKED_AT else ():
            page.emulate_media(color_scheme=scheme)
            name = f"{path.strip('/').replace('/', '-').replace('?', '-')}-{screen}-{scheme}.png"
            page.screenshot(path=f"{LOOKED_AT}/{name}", full_page=True)
    assert not found, "\n".join(map(str, found))
