"""ComfyUI's templates: those that run on this server come first, the others say what they lack, and what leads to
somebody else's paid service is not among them."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.stack.stack import Stack
from tests.stack.web.accessibility import LOOK, axe_in, serious
from tests.stack.web.conftest import Enter


def cards(page: Page) -> Locator:
    return page.locator("#templates .template")


def test_the_picker(real: Stack, enter: Enter, account: str, node_clients: Path) -> None:
    page = enter(real, account)
    page.goto("/workflows/new")

    expect(cards(page)).to_have_count(24)
    expect(cards(page).first.locator(".badge")).to_have_text("Runs here")
    page.evaluate(axe_in(node_clients))
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert serious(page.evaluate(LOOK)) == []

    page.get_by_label("What they need").select_option("models")
    expect(page.locator("#templates .badge").filter(has_text="Runs here")).to_have_count(0)
    expect(cards(page)).to_have_count(24)
    page.get_by_role("button", name="Show more").click()
    expect(cards(page)).to_have_count(48)

    page.get_by_label("Medium").select_option("audio")
    page.get_by_label("Size of the models").select_option("8")
    page.get_by_label("Search templates").fill("stable audio")
    expect(cards(page).filter(has_text="Stable Audio")).to_have_count(1)
    expect(cards(page).first).to_contain_text("stable-audio-open-1.0.safetensors")

    page.get_by_label("What they need").select_option("")
    page.get_by_label("Medium").select_option("")
    page.get_by_label("Size of the models").select_option("")
    page.get_by_label("Search templates").fill("Nano Banana")  # Google's, by ComfyUI's paid service
    expect(page.get_by_text("No templates match.")).to_be_visible()


def test_a_template_that_runs_here_runs(real: Stack, enter: Enter, account: str) -> None:
    page = enter(real, account)
    page.goto("/workflows/new?mark=runs&q=data type conversion")
    expect(cards(page)).to_have_count(1)

    cards(page).get_by_role("button", name="Use template").click()
    page.wait_for_url("**/edit")
    page.goto(page.url.removesuffix("/edit"))
    page.get_by_role("button", name="Run", exact=True).click()

    page.wait_for_url("**/runs/*")
    expect(page.locator(".badge.succeeded").first).to_be_visible(timeout=60_000)
