"""A newcomer takes a starter: the form speaks their language, a sample is there, and the first press makes pictures."""

from __future__ import annotations

import io

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.stack.graphs import node
from tests.stack.stack import Stack
from tests.stack.web.conftest import Enter


def take(page: Page, title: str) -> None:
    page.goto("/workflows/new")
    page.locator("form", has_text=title).get_by_role("button", name="Use starter").click()
    page.get_by_role("heading", name=title).wait_for()
    page.wait_for_load_state()


def is_told(page: Page) -> None:
    """Waits for what the origins of missing models tell: that answer takes the place of the list that came first."""
    expect(page.locator("#missing.htmx-request")).to_have_count(0)


def labels(page: Page) -> list[str]:
    return page.locator("[data-run-form] .field > label").all_inner_texts()


def press_run(page: Page) -> None:
    page.get_by_role("button", name="Run", exact=True).click()
    page.locator("h1 .badge", has_text="done").wait_for()


def pixel(stack: Stack, page: Page, account: str) -> tuple[int, ...]:
    """The middle of the first picture that the page shows."""
    source = page.locator("figure img").first.get_attribute("src")
    picture = Image.open(io.BytesIO(stack.visitor(account).get(str(source)).content)).convert("RGB")
    found = picture.getpixel((picture.width // 2, picture.height // 2))
    assert isinstance(found, tuple)
    return found


def test_colours(real: Stack, enter: Enter, account: str) -> None:
    page = enter(real, account)
    take(page, "Colours")

    ordinals = ("First", "Second", "Third", "Fourth", "Fifth", "Sixth")
    assert labels(page) == [*(f"{ordinal} colour" for ordinal in ordinals), "Pictures per second"]
    assert page.get_by_label("First colour").get_attribute("type") == "color"
    assert page.get_by_label("First colour").input_value() == "#1b1b3a"
    assert page.locator(".problem, .notice").count() == 0

    page.get_by_label("Fourth colour").fill("#00aa55")
    press_run(page)
    assert page.locator("video").count() == 1
    assert pixel(real, page, account) == (0x00, 0xAA, 0x55)


def test_larger_and_sharper_with_its_sample_and_with_a_picture_of_ones_own(
    real: Stack, enter: Enter, account: str
) -> None:
    page = enter(real, account)
    take(page, "Larger and sharper")

    assert labels(page) == ["Picture", "How many times as large", "How much sharper"]
    assert page.get_by_label("Picture", exact=True).input_value() == "lighthouse.jpg"
    assert page.locator(".problem, .notice").count() == 0
    press_run(page)
    page.locator("figcaption", has_text="960 \u00d7 640").wait_for()

    own = io.BytesIO()
    Image.new("RGB", (20, 10), "red").save(own, "PNG")
    take(page, "Larger and sharper")
    page.locator(".drop.small input[type=file]").set_input_files(
        {"name": "lighthouse.jpg", "mimeType": "image/png", "buffer": own.getvalue()}
    )
    page.get_by_role("status").get_by_text("lighthouse.jpg was uploaded.").wait_for()
    press_run(page)
    page.locator("figcaption", has_text="40 \u00d7 20").wait_for()
    take(page, "Larger and sharper")  # the sample does not take the place of one's own file
    press_run(page)
    page.locator("figcaption", has_text="40 \u00d7 20").wait_for()


def test_a_starter_that_needs_a_model_says_so_before_and_leads_to_it(real: Stack, enter: Enter, account: str) -> None:
    page = enter(real, account)
    page.goto("/workflows/new")
    card = page.locator("form", has_text="Picture from words")
    assert "v1-5-pruned-emaonly-fp16.safetensors was not found." in card.inner_text()

    take(page, "Picture from words")
    assert labels(page)[:2] == ["What to paint", "What to avoid"]
    first = page.get_by_role("region", name="Missing here")
    assert "v1-5-pruned-emaonly-fp16.safetensors was not found." in first.inner_text()
    is_told(page)
    first.get_by_role("link", name="Upload").click()
    assert page.get_by_label("Folder", exact=True).input_value() == "/models/checkpoints"
    assert page.get_by_label("Name", exact=True).input_value() == "v1-5-pruned-emaonly-fp16.safetensors"
    page.go_back()
    is_told(page)
    first.get_by_role("link", name="Add by URL").click()
    assert page.get_by_label("URL", exact=True).input_value().endswith("/main/v1-5-pruned-emaonly-fp16.safetensors")
    assert page.get_by_label("Folder in /models").input_value() == "checkpoints"
    assert page.locator("input[name=name]").input_value() == "v1-5-pruned-emaonly-fp16.safetensors"

    # Whoever presses Run all the same is led to the same address.
    page.go_back()
    page.get_by_role("button", name="Run", exact=True).click()
    page.locator("#problems").get_by_role("link", name="Add by URL").click()
    assert page.get_by_label("URL", exact=True).input_value().endswith("/main/v1-5-pruned-emaonly-fp16.safetensors")

    # With a model that is here it runs at once.
    page.go_back()
    page.get_by_label("Model").select_option("house-tiny-sd15.safetensors")
    page.get_by_label("Width").fill("64")
    page.get_by_label("Height").fill("64")
    page.get_by_label("Steps").fill("2")
    press_run(page)
    page.locator("figcaption", has_text="64 \u00d7 64").wait_for()


@pytest.mark.parametrize("view", ["form", "api"])
def test_equal_nodes_are_told_apart(real: Stack, enter: Enter, account: str, view: str) -> None:
    graph = {
        "1": node("EmptyImage", width=8, height=8, batch_size=1, color=1),
        "2": node("EmptyImage", width=8, height=8, batch_size=1, color=2),
        "3": {**node("EmptyImage", width=8, height=8, batch_size=1, color=3), "_meta": {"title": "Sky"}},
        "9": node("SaveImage", images=["1", 0], filename_prefix="x"),
    }
    made = real.client(account).http.post("/api/v1/workflows", json={"name": "Three", "prompt": graph}).json()["id"]
    page = enter(real, account)

    page.goto(f"/workflows/{made}/{view}")

    for name in ("Empty Image 1: color", "Empty Image 2: color", "Sky: color"):
        assert (page.get_by_text(name).first.text_content() or "").strip().startswith(name)
    if view == "api":
        page.get_by_text("Inputs as variables").click()
        for key in ("1.color", "2.color", "3.color"):
            page.locator(f"input[name=vary][value='{key}']").check()
        page.get_by_text("Python: requests").click()
        code = page.locator("#snippet[data-language=requests]").inner_text()
        assert [line.split(" = ")[0] for line in code.splitlines() if line.startswith("color_")] == [
            "color_empty_image_1",
            "color_empty_image_2",
            "color_sky",
        ]
