"""Somebody takes over a public workflow: no file name of its owner's travels, and what is to be done is said first."""

from __future__ import annotations

import io
from typing import Any

import httpx2
from PIL import Image

from tests.stack.graphs import node
from tests.stack.stack import Client, Stack
from tests.stack.web.conftest import Enter

SECRETS = ("anna-at-home", "family/beach", "second-secret", "holiday.wav")


def graph(model: str) -> dict[str, Any]:
    return {
        "1": {**node("LoadImage", image="anna-at-home.png"), "_meta": {"title": "Load Image"}},
        "2": node("LoadImage", image="family/beach.png"),
        "3": node("SaveImage", images=["1", 0], filename_prefix="shown"),
        "4": node("SaveImage", images=["2", 0], filename_prefix="shown"),
        "5": node("CheckpointLoaderSimple", ckpt_name=model),
        "6": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "7": node("VAEDecode", samples=["6", 0], vae=["5", 2]),
        "8": node("SaveImage", images=["7", 0], filename_prefix="empty"),
    }


EDITOR = {
    "nodes": [
        {"id": 1, "type": "LoadImage", "pos": [0, 0], "widgets_values": ["anna-at-home.png", "image"]},
        {"id": 2, "type": "LoadImage", "pos": [0, 0], "mode": 4, "widgets_values": ["second-secret.png", "image"]},
        {"id": 3, "type": "LoadAudio", "pos": [0, 0], "widgets_values": ["holiday.wav", None, ""]},
    ],
    "links": [],
    "version": 0.4,
}


def shared_by(owner: Client, visitor: httpx2.Client, model: str) -> str:
    """A public workflow whose owner has pictures of their own in it."""
    made = owner.http.post("/api/v1/workflows", json={"name": "Two pictures", "prompt": graph(model)}).json()["id"]
    owner.http.patch(f"/api/v1/workflows/{made}", json={"workflow": EDITOR})
    for name in ("anna-at-home.png", "family/beach.png"):
        data = io.BytesIO()
        Image.new("RGB", (30, 20), "red").save(data, "PNG")
        owner.http.post("/api/v1/files", params={"path": f"/input/{name}"}, content=data.getvalue())
    public = {"name": "Two pictures", "description": "", "tags": "", "visibility": "PUBLIC", "accelerator": ""}
    assert visitor.post(f"/workflows/{made}/settings", data=public).status_code == 303
    return str(made)


def test_a_stranger_is_told_what_to_choose(real: Stack, enter: Enter, account: str) -> None:
    shared = shared_by(real.client(account), real.visitor(account), "rare-model.safetensors")
    friend = f"{account}-friend"
    page, browser = enter(real, friend), real.visitor(friend)

    page.goto(f"/explore/{shared}")
    assert "rare-model.safetensors was not found." in page.get_by_label("Missing here").inner_text()
    page.get_by_role("button", name="Use workflow").click()
    page.wait_for_url("**/workflows/*")
    copy = page.url.rpartition("/")[2]

    everywhere = [f"/explore/{shared}", *(f"/workflows/{copy}{part}" for part in ("", "/api", "/form", "/graph"))]
    for path in (*everywhere, f"/api/v1/workflows/{copy}"):
        text = browser.get(path).text
        assert [secret for secret in SECRETS if secret in text] == [], path
    # What everybody has stays: the model's name tells what to bring.
    copied = browser.get(f"/api/v1/workflows/{copy}").json()["prompt"]
    assert copied["5"]["inputs"]["ckpt_name"] == "rare-model.safetensors"
    assert copied["1"]["inputs"]["image"] == copied["2"]["inputs"]["image"] == ""

    first = page.get_by_role("region", name="Missing here")
    assert "rare-model.safetensors was not found." in first.inner_text()
    assert first.get_by_role("link", name="Add by URL").is_visible()
    assert first.get_by_role("link", name="Upload").is_visible()
    picture = page.get_by_label("Load Image 1: image")
    assert picture.evaluate("each => each.selectedOptions[0].textContent") == "Choose an image"
    page.get_by_label("Load Checkpoint: ckpt name").select_option("house-tiny-sd15.safetensors")
    page.get_by_role("button", name="Run", exact=True).click()

    problems = page.locator("#problems")
    problems.get_by_text("Choose an image for Load Image 1.").wait_for()
    assert "Choose an image for Load Image 2." in problems.inner_text()
    assert '"files"' not in problems.inner_text()
    assert browser.get("/api/v1/runs").json() == []

    data = io.BytesIO()
    Image.new("RGB", (50, 40), "blue").save(data, "PNG")
    for field in (0, 1):
        zone = page.locator(".drop.small").nth(field)
        mine = {"name": f"mine-{field}.png", "mimeType": "image/png", "buffer": data.getvalue()}
        zone.locator("input[type=file]").set_input_files(mine)
        zone.get_by_text(f"mine-{field}.png was uploaded.").wait_for()
    page.get_by_role("button", name="Run", exact=True).click()
    page.locator("figcaption", has_text="50 \u00d7 40").first.wait_for()


def test_a_public_page_leads_to_no_editor_but_the_visitors_own(real: Stack, account: str) -> None:
    strange = {**graph("house-tiny-sd15.safetensors"), "9": node("FaceDetailerUltra")}
    named = {"name": "Strange", "prompt": strange, "visibility": "PUBLIC"}
    shared = real.client(account).http.post("/api/v1/workflows", json=named).json()["id"]
    visitor = real.visitor(f"{account}-friend")

    shown = visitor.get(f"/explore/{shared}").text
    assert "FaceDetailerUltra is not installed." in shown
    assert "Open in editor" not in shown

    copy = visitor.post(f"/explore/{shared}/use").headers["location"]
    assert f'href="{copy}/edit">Open in editor</a>' in visitor.get(copy).text


def test_a_file_that_both_have_by_name_stays(real: Stack, account: str) -> None:
    owner = real.client(account)
    shared = shared_by(owner, real.visitor(account), "house-tiny-sd15.safetensors")
    friend = real.client(f"{account}-friend")
    friend.http.post("/api/v1/files", params={"path": "/input/anna-at-home.png"}, content=b"another Anna")

    visitor = real.visitor(f"{account}-friend")
    copy = visitor.post(f"/explore/{shared}/use").headers["location"].split("/")[2]

    copied = visitor.get(f"/api/v1/workflows/{copy}").json()["prompt"]
    assert copied["1"]["inputs"]["image"] == "anna-at-home.png"
    assert copied["2"]["inputs"]["image"] == ""
    own = real.visitor(account).post(f"/workflows/{shared}/duplicate").headers["location"].split("/")[2]
    assert owner.http.get(f"/api/v1/workflows/{own}").json()["prompt"] == graph("house-tiny-sd15.safetensors")
