"""Routes that editors and plug-ins ask of a ComfyUI beside prompts and files: memory, previews, what krita needs."""

from __future__ import annotations

import base64
import io
import json
import time
from typing import Any

import httpx2
import pytest
from PIL import Image

from tests.stack.conftest import StartFake
from tests.stack.graphs import node
from tests.stack.stack import Client, Stack

MEMORY = {"vram_total": 8 << 30, "vram_free": 5 << 30, "torch_vram_total": 8 << 30, "torch_vram_free": 5 << 30}


@pytest.fixture
def client(shared: Stack) -> Client:
    return shared.client("plug-in")


def comfyui(client: Client, path: str, method: str = "GET", **more: object) -> httpx2.Response:
    return client.http.request(method, f"/comfy{path}", **more)  # type: ignore[arg-type]


def stats_of_a_worker(client: Client) -> dict[str, Any]:
    """A worker tells of its memory once its ComfyUI has; it is ready before."""
    while not (stats := comfyui(client, "/system_stats").json())["devices"][0]["vram_total"]:
        time.sleep(0.01)
    return dict(stats)


def picture(color: str, form: str = "PNG") -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(data, form)
    return data.getvalue()


def safetensors(**metadata: str) -> bytes:
    header = json.dumps({"__metadata__": metadata}).encode()
    return len(header).to_bytes(8, "little") + header


def upload(client: Client, path: str, data: bytes) -> None:
    answer = client.http.post("/api/v1/files", params={"path": path}, content=data)
    assert answer.status_code == 201, answer.text


def test_the_memory_of_the_fleet(client: Client) -> None:
    stats = stats_of_a_worker(client)

    assert (stats["system"]["ram_total"], stats["system"]["ram_free"]) == (8 << 30, 5 << 30)
    assert stats["system"]["pytorch_version"] == "2.9.1+cpu"
    [device] = stats["devices"]
    assert device["type"] == "cpu"
    assert MEMORY.items() <= device.items()


def test_the_memory_is_remembered_while_no_worker_is_there(start_fake: StartFake) -> None:
    stack = start_fake().wait_ready()
    client = stack.client()
    before = stats_of_a_worker(client)["devices"]
    stack.stop()
    stack.settings |= {"fleet": "none"}
    stack.start()

    assert comfyui(client, "/system_stats").json()["devices"] == before


def test_files_that_a_node_lists_with_its_button(shared: Stack) -> None:
    """LoadImageOutput asks so; each name can be used in a graph, and the newest is the first."""
    client = shared.client("lists")
    first, second = (client.run({"1": node("FakeSave", text=name, prefix=name)}) for name in ("older", "newer"))
    for name in ("mine.png", "deep/mine.png"):
        upload(client, f"/input/{name}", picture("red"))

    listed = comfyui(client, "/internal/files/output").json()

    assert listed == [f"{second['id']}/newer_00001_.txt [output]", f"{first['id']}/older_00001_.txt [output]"]
    assert comfyui(client, "/view", params={"filename": listed[0]}).content == b"newer"
    copied = client.run({"1": node("FakeSave", text=listed[1])})
    assert client.http.get(copied["output"][0]["url"]).content == b"older"
    assert comfyui(client, "/internal/files/input").json() == ["mine.png [input]"]
    assert comfyui(client, "/internal/files/temp").json() == []
    assert comfyui(client, "/internal/files/models").status_code == 400
    assert comfyui(shared.client("another"), "/internal/files/output").json() == []


def test_subgraphs_that_are_not_there(client: Client) -> None:
    assert comfyui(client, "/global_subgraphs").json() == {}
    answer = comfyui(client, "/api/global_subgraphs/0123")
    assert (answer.status_code, answer.json()) == (200, None)


def test_pictures_of_models(shared: Stack, client: Client) -> None:
    cover = base64.b64encode(picture("blue", "JPEG")).decode()
    upload(client, "/models/loras/a.safetensors", safetensors())
    upload(client, "/models/loras/a.preview.png", picture("red"))
    upload(client, "/models/loras/deep/b.v2.safetensors", safetensors())
    upload(client, "/models/loras/deep/b.v2.jpg", picture("lime", "JPEG"))
    upload(client, "/models/loras/c.safetensors", safetensors(ssmd_cover_images=json.dumps([cover])))
    upload(client, "/models/loras/d.safetensors", safetensors())
    upload(client, "/models/loras/e.safetensors", b"no safetensors")
    upload(client, "/models/loras/f.safetensors", safetensors(ssmd_cover_images="[1"))
    base = "/experiment/models/preview/loras"

    for name, color in (("a.safetensors", "red"), ("deep/b.v2.safetensors", "lime"), ("c.safetensors", "blue")):
        answer = comfyui(client, f"/api{base}/0/{name}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp")
        seen = Image.open(io.BytesIO(answer.content)).convert("RGB").resize((1, 1)).getpixel((0, 0))
        wanted = Image.new("RGB", (1, 1), color).getpixel((0, 0))
        assert all(abs(one - other) < 12 for one, other in zip(seen, wanted, strict=True)), name
    for name in ("d.safetensors", "e.safetensors", "f.safetensors", "absent.safetensors"):
        assert comfyui(client, f"{base}/0/{name}").status_code == 404
    assert comfyui(client, f"{base}/x/a.safetensors").status_code == 400
    assert comfyui(client, f"{base}/0/").status_code == 400
    assert comfyui(client, f"{base}/0/..%2F..%2Fa.safetensors").status_code == 403
    assert comfyui(shared.client("plug-in-2"), f"{base}/0/a.safetensors").status_code == 404


def test_krita_connects_and_brings_a_lora(shared: Stack, client: Client) -> None:
    info = "/api/etn/model_info"
    house = {"house.safetensors": {"base_model": "sdxl", "is_inpaint": False, "type": "eps"}}
    assert comfyui(client, f"{info}/checkpoints").json() == house == comfyui(client, info).json()
    paged = comfyui(client, f"{info}/checkpoints?offset=0&limit=8").json()
    assert paged == {**house, "_meta": {"offset": 0, "count": 1, "total": 1}}
    assert comfyui(client, f"{info}/checkpoints?offset=8&limit=8").json()["_meta"]["count"] == 0
    assert comfyui(client, f"{info}/nothing").status_code == 400

    upload(client, "/models/checkpoints/own.safetensors", safetensors())
    assert comfyui(client, f"{info}/checkpoints").json() == {**house, "own.safetensors": {"base_model": "unknown"}}
    assert comfyui(shared.client("plug-in-2"), f"{info}/checkpoints").json() == house

    assert comfyui(client, "/api/etn/languages").json() == []
    assert comfyui(client, "/api/etn/translate/de/ein Haus/am Meer").json() == "ein Haus/am Meer"
    for what in ("subscribe", "unsubscribe"):
        assert comfyui(client, f"/api/etn/workflow/{what}", "POST", json={"client_id": "x"}).status_code == 200

    lora = safetensors(x="y")
    place = "/api/etn/upload/loras/mine.safetensors"
    assert comfyui(client, place, "PUT", content=lora).status_code == 201
    assert comfyui(client, place, "PUT", content=b"other").json() == {"status": "cached"}
    assert "mine.safetensors" in comfyui(client, "/models/loras").json()
    assert comfyui(client, "/api/etn/upload/loras/mine.exe", "PUT", content=b"x").status_code == 400
    for method in ("GET", "PUT"):
        refused = comfyui(client, "/api/etn/image/0123", method)
        assert (refused.status_code, "worker" in refused.json()["error"]) == (501, True)
