"""Pictures, masks and models that are uploaded through one API are there in all, and in the editor's choices."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from PIL import Image

from tests import loopback
from tests.fakes.http import Origin
from tests.stack.graphs import load_and_save, text_to_image
from tests.stack.stack import Client, Stack


@pytest.fixture
def comfyui(real: Stack, client: Client) -> Iterator[httpx2.Client]:
    with loopback.Client(base_url=f"{real.url}/comfy", headers={"X-API-Key": client.key}, timeout=60) as http:
        yield http


@pytest.fixture
def newcomer(real: Stack) -> Client:
    """An account without files."""
    return real.client("newcomer")


def png(color: str, mode: str = "RGB") -> bytes:
    data = io.BytesIO()
    Image.new(mode, (8, 8), color).save(data, "PNG")
    return data.getvalue()


def upload(comfyui: httpx2.Client, name: str, data: bytes, **fields: str) -> dict[str, str]:
    answer = comfyui.post("/upload/image", files={"image": (name, data, "image/png")}, data=fields)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.mark.several_servers
def test_names_are_given_as_comfyui_gives_them(comfyui: httpx2.Client) -> None:
    assert upload(comfyui, "n.png", png("red")) == {"name": "n.png", "subfolder": "", "type": "input"}
    assert upload(comfyui, "n.png", png("red"))["name"] == "n.png"
    assert upload(comfyui, "n.png", png("blue"))["name"] == "n (1).png"
    assert upload(comfyui, "n.png", png("green"), overwrite="true")["name"] == "n.png"
    assert upload(comfyui, "n.png", png("red"), subfolder="a/b") == {
        "name": "n.png",
        "subfolder": "a/b",
        "type": "input",
    }

    seen = comfyui.get("/view", params={"filename": "n.png", "type": "input"})
    assert seen.content == png("green")
    assert seen.headers["cache-control"] == "no-cache"
    assert comfyui.get("/view", params={"filename": "n.png [input]", "subfolder": "a/b"}).content == png("red")


@pytest.mark.engine
@pytest.mark.several_servers
def test_an_upload_is_a_choice_and_an_input_of_every_api(comfyui: httpx2.Client, client: Client) -> None:
    upload(comfyui, "everywhere.png", png("red"))

    [choices, _] = comfyui.get("/object_info/LoadImage").json()["LoadImage"]["input"]["required"]["image"]
    v1 = client.run(load_and_save("everywhere.png"))
    v2 = client.http.post("/api/v2/jobs", json={"workflow": load_and_save("everywhere.png")})
    native = comfyui.post("/prompt", json={"prompt": load_and_save("everywhere.png [input]")})

    assert "everywhere.png" in choices
    assert v1["status"] == "COMPLETED"
    assert (v2.status_code, native.status_code) == (201, 200)


def test_an_upload_through_v1_or_v2_is_a_choice_too(comfyui: httpx2.Client, client: Client) -> None:
    client.http.post("/api/v1/files", params={"path": "/input/by-v1.png"}, content=png("red"))
    form = {"content_type": "image/png", "file_path": "by-v2.png"}
    made = client.http.post("/api/v2/assets", data=form, files={"file": ("x", png("teal"))})
    client.http.post("/api/v1/files", params={"path": "/models/loras/mine.safetensors"}, content=b"\0" * 100)

    info = comfyui.get("/object_info").json()

    assert made.status_code == 201
    assert {"by-v1.png", "by-v2.png"} <= set(info["LoadImage"]["input"]["required"]["image"][0])
    assert "mine.safetensors" in info["LoraLoader"]["input"]["required"]["lora_name"][0]
    assert "mine.safetensors" in comfyui.get("/models/loras").json()
    client.http.delete("/api/v1/files", params={"path": "/models/loras/mine.safetensors"})
    assert "mine.safetensors" not in comfyui.get("/models/loras").json()


@pytest.mark.engine
def test_a_mask_becomes_the_alpha_of_its_picture(comfyui: httpx2.Client) -> None:
    upload(comfyui, "whole.png", png("red"))
    mask = io.BytesIO()
    Image.new("RGBA", (8, 8), (0, 0, 0, 9)).save(mask, "PNG")
    reference = json.dumps({"filename": "whole.png", "subfolder": "", "type": "input"})

    answer = comfyui.post(
        "/upload/mask",
        files={"image": ("masked.png", mask.getvalue(), "image/png")},
        data={"original_ref": reference, "subfolder": "clipspace"},
    )

    assert answer.json() == {"name": "masked.png", "subfolder": "clipspace", "type": "input"}
    seen = comfyui.get("/view", params={"filename": "masked.png", "subfolder": "clipspace", "type": "input"})
    with Image.open(io.BytesIO(seen.content)) as picture:
        assert picture.getpixel((0, 0)) == (255, 0, 0, 9)


def test_models_brought_by_url_can_be_chosen_by_name_afterwards(
    real: Stack, newcomer: Client, site: Origin, tiny_models_dir: Path
) -> None:
    folder = tiny_models_dir / "one"
    files = {
        f"/models/{kind}/{name}": site.put(f"/{name}", (folder / name).read_bytes())
        for kind, name in (("checkpoints", "tiny-sd15.safetensors"), ("loras", "tiny-lora.safetensors"))
    }
    assert newcomer.post_run({"prompt": text_to_image()}).status_code == 400  # nobody has these models

    first = newcomer.run(text_to_image(), files=files)
    with loopback.Client(base_url=f"{real.url}/comfy", headers={"X-API-Key": newcomer.key}, timeout=60) as comfyui:
        choices = comfyui.get("/object_info/LoraLoader").json()["LoraLoader"]["input"]["required"]["lora_name"][0]
        prompt_id = comfyui.post("/prompt", json={"prompt": text_to_image(seed=2)}).json()["prompt_id"]
    [second] = [run for run in newcomer.http.get("/api/v1/runs").json() if run["prompt_id"] == prompt_id]

    assert first["status"] == "COMPLETED"
    assert "tiny-lora.safetensors" in choices
    assert newcomer.finish(second["id"])["status"] == "COMPLETED"
    assert second["files"] == files


def test_the_metadata_of_a_model_of_ones_own(comfyui: httpx2.Client, client: Client) -> None:
    header = json.dumps({"__metadata__": {"ss_name": "x"}, "t": {}}).encode()
    body = len(header).to_bytes(8, "little") + header
    client.http.post("/api/v1/files", params={"path": "/models/loras/meta.safetensors"}, content=body)
    client.http.post("/api/v1/files", params={"path": "/models/loras/junk.safetensors"}, content=b"junk")

    assert comfyui.get("/view_metadata/loras", params={"filename": "meta.safetensors"}).json() == {"ss_name": "x"}
    for name in ("junk.safetensors", "missing.safetensors", "../x"):
        assert comfyui.get("/view_metadata/loras", params={"filename": name}).status_code == 404, name
    client.http.delete("/api/v1/files", params={"path": "/models/loras/meta.safetensors"})
    client.http.delete("/api/v1/files", params={"path": "/models/loras/junk.safetensors"})
