"""A file is dropped whose model nobody has: its page says what is missing, fetches it at the press of a button, and
makes a picture."""

from __future__ import annotations

import json
from pathlib import Path

import httpx2
from playwright.sync_api import expect

from comfyward.wording import size
from tests.fakes.model_sites import Hub
from tests.stack.editor_files import text_to_image_file
from tests.stack.stack import Stack
from tests.stack.web.accessibility import LOOK, axe_in, serious
from tests.stack.web.conftest import Enter


def test_drop_get_picture(
    real: Stack, enter: Enter, account: str, hub: Hub, tiny_models_dir: Path, node_clients: Path, tmp_path: Path
) -> None:
    data = (tiny_models_dir / "one" / "tiny-sd15.safetensors").read_bytes()
    name = f"{account}.safetensors"
    model = {"name": name, "url": hub.put("someone/got", name, data), "directory": "checkpoints"}
    file = tmp_path / "Dropped.json"
    file.write_text(json.dumps(text_to_image_file(name, models=[model])))
    page = enter(real, account)
    page.goto("/workflows/new")
    page.locator("input[type=file]").set_input_files(file)
    page.wait_for_url("**/workflows/*")

    missing = page.get_by_role("region", name="Missing here")
    expect(missing).to_contain_text(f"/models/checkpoints/{name}")
    expect(missing).to_contain_text(model["url"])
    expect(missing).to_contain_text(size(len(data)))  # of the second answer, which takes the place of the first
    page.evaluate(axe_in(node_clients))
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert serious(page.evaluate(LOOK)) == []
    missing.get_by_role("button", name="Get what is missing").click()

    expect(missing).to_have_count(0)  # it has come, and the page was loaded anew
    page.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_url("**/runs/*")
    expect(page.locator(".badge.succeeded").first).to_be_visible(timeout=60_000)
    picture = page.locator("img[src*='/outputs/'], .outputs img").first
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.naturalWidth") > 0


def test_a_gated_model_says_where_its_licence_is_accepted(
    real: Stack, enter: Enter, account: str, hub: Hub, tmp_path: Path
) -> None:
    name = f"gated-{account}.safetensors"
    url = hub.put("someone/gated", name, b"weights", is_gated=True)
    file = tmp_path / "Gated.json"
    file.write_text(
        json.dumps(text_to_image_file(name, models=[{"name": name, "url": url, "directory": "checkpoints"}]))
    )
    page = enter(real, account)
    page.goto("/workflows/new")
    page.locator("input[type=file]").set_input_files(file)
    page.wait_for_url("**/workflows/*")

    missing = page.get_by_role("region", name="Missing here")
    expect(missing.get_by_role("link", name="Its page")).to_have_attribute("href", f"{hub.url}/someone/gated")
    expect(missing).to_contain_text("as the secret HF_TOKEN")
    expect(missing.get_by_role("link", name="Secrets")).to_have_attribute("href", "/account/secrets")
    missing.get_by_role("button", name="Get what is missing").click()

    expect(missing.locator(".problem")).to_contain_text("HF_TOKEN")
    key = {"Authorization": f"Bearer {real.client(account).key}"}
    assert httpx2.get(f"{real.url}/api/v1/imports", headers=key).json() == []
