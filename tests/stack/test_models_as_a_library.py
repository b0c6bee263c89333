"""The models of an account, with what their headers tell, their use and their pictures; shared, deleted, restored.

Another account never sees a private one, its name, its picture or its use.
"""

from __future__ import annotations

import io
import json
import os
import struct
from subprocess import CompletedProcess
from typing import Any

import pytest
from PIL import Image

from tests.command_line import comfyward
from tests.stack.conftest import StartFake
from tests.stack.graphs import node
from tests.stack.stack import Client, Stack

METADATA = {
    "modelspec.title": "Ink",
    "modelspec.license": "MIT",
    "modelspec.trigger_phrase": "ink drawing",
    "ss_base_model_version": "sd_v1",
}
TENSORS = {
    "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight": {
        "dtype": "F16",
        "shape": [1, 2048],
        "data_offsets": [0, 4096],
    }
}


def safetensors(salt: str = "", **more: Any) -> bytes:
    header = json.dumps({"__metadata__": {**METADATA, "salt": salt}, **TENSORS, **more}).encode()
    return struct.pack("<Q", len(header)) + header + b"\0" * 4096


def png(colour: str) -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (32, 32), colour).save(made, "PNG")
    return made.getvalue()


def upload(client: Client, path: str, data: bytes) -> None:
    assert client.http.post("/api/v1/files", params={"path": path}, content=data).status_code == 201


def library(client: Client, **query: Any) -> dict[str, Any]:
    answer = client.http.get("/api/v1/models/library", params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def names(client: Client, **query: Any) -> list[str]:
    return [each["name"] for each in library(client, **query)["models"] if each["origin"] != "workers"]


def one(client: Client, name: str) -> dict[str, Any]:
    answer = client.http.get(f"/api/v1/models/{name}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once().wait_ready()


def test_what_a_header_tells_is_shown_and_searched(stack: Stack) -> None:
    client = stack.client("ann")
    upload(client, "/models/loras/ink.safetensors", safetensors("ann"))
    upload(client, "/models/loras/ink.preview.png", png("red"))
    upload(client, "/models/loras/broken.safetensors", b"\xff" * 64)

    shown = one(client, "loras/ink.safetensors")
    assert (shown["architecture"], shown["trigger_words"], shown["licence"]) == ("SDXL", ["ink drawing"], "MIT")
    assert (shown["title"], shown["origin"], shown["shared"]) == ("Ink", "own", False)
    assert shown["size"] == len(safetensors("ann"))
    assert shown["hosts"] is None
    assert one(client, "loras/broken.safetensors")["architecture"] == ""
    assert names(client) == ["broken.safetensors", "ink.safetensors"]
    assert names(client, q="drawing sdxl") == ["ink.safetensors"]
    assert names(client, architecture="sdxl") == ["ink.safetensors"]
    assert names(client, folder="checkpoints") == []
    assert names(client, unused_days=90) == []
    picture = client.http.get(shown["preview_url"])
    assert picture.headers["content-type"] == "image/webp"
    assert Image.open(io.BytesIO(picture.content)).convert("RGB").getpixel((9, 9))[0] > 200  # type: ignore[index]
    # The list of names that was there before is as it was.
    assert "ink.safetensors" in client.http.get("/api/v1/models").json()["loras"]


def test_pages_and_duplicates(stack: Stack) -> None:
    client = stack.client("pat")
    for name in ("a", "b", "c"):
        upload(client, f"/models/loras/{name}.safetensors", safetensors("pat" if name != "c" else "another"))
    first = library(client, origin="own", limit=2)
    assert [each["name"] for each in first["models"]] == ["a.safetensors", "b.safetensors"]
    rest = library(client, origin="own", limit=2, cursor=first["next_cursor"])
    assert ([each["name"] for each in rest["models"]], rest["next_cursor"]) == (["c.safetensors"], None)
    assert names(client, duplicates="true") == ["a.safetensors", "b.safetensors"]
    assert first["models"][0]["duplicates"] == ["/models/loras/b.safetensors"]
    assert (first["total"], first["total_size"]) == (3, len(safetensors("pat")) + len(safetensors("another")))
    assert client.http.get("/api/v1/models/library", params={"cursor": "x"}).status_code == 400


def test_a_private_model_is_nobody_elses(stack: Stack) -> None:
    owner, other = stack.client("owner"), stack.client("other")
    upload(owner, "/models/loras/private.safetensors", safetensors("private"))
    upload(owner, "/models/loras/private.png", png("blue"))
    graph = {"1": node("LoadLora", lora_name="private.safetensors")}
    owner.http.post("/api/v1/workflows", json={"name": "Mine", "prompt": graph})

    assert one(owner, "loras/private.safetensors")["workflows"][0]["name"] == "Mine"
    assert "private" not in json.dumps(library(other))
    for method, path in (
        ("GET", "/api/v1/models/loras/private.safetensors"),
        ("PATCH", "/api/v1/models/loras/private.safetensors"),
        ("DELETE", "/api/v1/models/loras/private.safetensors"),
        ("GET", "/api/v1/model-previews/loras/private.safetensors"),
        ("GET", "/comfy/api/view_metadata/loras?filename=private.safetensors"),
    ):
        sent = {"json": {"title": "taken"}} if method == "PATCH" else {}
        assert other.http.request(method, path, **sent).status_code == 404, path
    # Of the same name, each has its own.
    upload(other, "/models/loras/private.safetensors", safetensors("of the other"))
    assert one(other, "loras/private.safetensors")["workflows"] == []
    assert one(other, "loras/private.safetensors")["preview_url"] is None
    assert one(owner, "loras/private.safetensors")["title"] == "Ink"


def test_an_admin_shares_a_model_and_takes_it_back(stack: Stack) -> None:
    admin, member = stack.client(), stack.client("member")
    upload(admin, "/models/loras/house.safetensors", safetensors("house"))
    upload(admin, "/models/loras/house.preview.png", png("red"))
    path = "/api/v1/models/loras/house.safetensors"
    assert member.http.get(path).status_code == 404
    shared = admin.http.patch(path, json={"shared": True, "licence": "ours", "trigger_words": ["house, style"]})
    assert (shared.json()["shared"], shared.json()["trigger_words"]) == (True, ["house", "style"])

    seen = one(member, "loras/house.safetensors")
    assert (seen["origin"], seen["licence"], seen["architecture"]) == ("shared", "ours", "SDXL")
    assert member.http.get(seen["preview_url"]).status_code == 200
    assert "house.safetensors" in member.http.get("/api/v1/models").json()["loras"]
    assert "house.safetensors" in member.http.get("/comfy/api/models/loras").json()
    assert member.http.patch(path, json={"title": "mine"}).status_code == 403
    assert member.http.delete(path).status_code == 403
    upload(member, "/models/loras/own.safetensors", safetensors("own"))
    assert member.http.patch("/api/v1/models/loras/own.safetensors", json={"shared": True}).status_code == 403

    admin.http.patch(path, json={"shared": False})
    assert member.http.get(path).status_code == 404
    assert one(admin, "loras/house.safetensors")["origin"] == "own"


def test_the_same_bytes_of_a_members_own_are_changed_and_deleted_for_the_member_alone(stack: Stack) -> None:
    admin, member, neighbour = stack.client(), stack.client("twin"), stack.client("neighbour")
    path = "/api/v1/models/loras/twin.safetensors"
    upload(admin, "/models/loras/twin.safetensors", safetensors("twin"))
    admin.http.patch(path, json={"shared": True, "title": "Twin"})
    upload(member, "/models/loras/twin.safetensors", safetensors("twin"))

    assert member.http.patch(path, json={"title": "mine"}).json()["title"] == "mine"
    assert one(neighbour, "loras/twin.safetensors")["title"] == "Twin"
    assert member.http.delete(path).status_code == 200
    assert one(neighbour, "loras/twin.safetensors")["origin"] == "shared"


def test_what_concerns_other_accounts_and_hosts_is_told_to_admins(stack: Stack) -> None:
    admin, member, neighbour = stack.client(), stack.client("curious"), stack.client("named")
    path = "loras/asked.safetensors"
    upload(admin, f"/models/{path}", safetensors("asked"))
    admin.http.patch(f"/api/v1/models/{path}", json={"shared": True})
    graph = {"1": node("LoadLora", lora_name="asked.safetensors")}
    neighbour.http.post("/api/v1/workflows", json={"name": "Theirs", "prompt": graph})

    assert [one(each, path)["other_workflows"] for each in (admin, member)] == [1, 0]
    assert [library(each)["caches"] is None for each in (admin, member)] == [False, True]


def test_deleting_says_what_would_break_asks_and_is_undone(stack: Stack) -> None:
    client = stack.client("del")
    upload(client, "/models/loras/gone.safetensors", safetensors("gone"))
    upload(client, "/models/loras/gone.preview.png", png("red"))
    client.http.patch("/api/v1/models/loras/gone.safetensors", json={"source": "https://example.com/gone"})
    graph = {"1": node("LoadLora", lora_name="gone.safetensors")}
    made = client.http.post("/api/v1/workflows", json={"name": "Needs it", "prompt": graph}).json()["id"]
    path = "/api/v1/models/loras/gone.safetensors"

    refused = client.http.delete(path)
    assert refused.status_code == 409
    assert refused.json()["code"] == "model_in_use"
    assert "'Needs it'" in refused.json()["message"]
    assert refused.json()["details"]["workflows"] == [{"id": made, "name": "Needs it"}]
    assert client.http.get(path).status_code == 200
    deleted = client.http.delete(path, params={"confirm": "true"}).json()
    assert client.http.get(path).status_code == 404
    assert "gone" not in client.http.get("/api/v1/files").text
    assert stack.client("del-other").http.post("/api/v1/models/restore", json={"id": deleted["id"]}).status_code == 404
    assert client.http.post("/api/v1/models/restore", json={"id": deleted["id"]}).json()["path"] == deleted["path"]
    assert one(client, "loras/gone.safetensors")["source"] == "https://example.com/gone"
    assert client.http.get("/api/v1/model-previews/loras/gone.safetensors").status_code == 200
    assert client.http.post("/api/v1/models/restore", json={"id": deleted["id"]}).status_code == 404


def test_runs_count_for_the_models_that_they_bring_each_account_for_itself(stack: Stack) -> None:
    admin, member = stack.client(), stack.client("counts")
    upload(admin, "/models/embeddings/counted.safetensors", safetensors("counted"))
    admin.http.patch("/api/v1/models/embeddings/counted.safetensors", json={"shared": True})
    graph = {"1": node("FakeText", text="a cat, embedding:counted, sleeping")}
    for client in (member, member, admin):
        run = client.finish(client.submit(graph))
        assert run["status"] == "COMPLETED"
    # An admin sees how much a shared model is used by all, a member what is his own.
    assert one(member, "embeddings/counted.safetensors")["used_by"]["runs"] == 2
    assert one(admin, "embeddings/counted.safetensors")["used_by"]["runs"] == 3
    assert len(one(admin, "embeddings/counted.safetensors")["hosts"]) == 1
    assert one(member, "embeddings/counted.safetensors")["hosts"] is None
    # The bytes that are shared are not of the member's storage.
    assert member.http.get("/api/v1/me").json()["storage"]["outputs"]["used"] < len(safetensors("counted"))
    assert names(member, unused_days=1) == []


def test_the_command_line(stack: Stack) -> None:
    client = stack.client("cli")
    upload(client, "/models/loras/typed.safetensors", safetensors("typed"))
    graph = {"1": node("LoadLora", lora_name="typed.safetensors")}
    client.http.post("/api/v1/workflows", json={"name": "Typed", "prompt": graph})
    environment = {**os.environ, "COMFYWARD_URL": stack.url, "COMFYWARD_API_KEY": client.key}

    def models(*arguments: str, text: str = "") -> CompletedProcess[str]:
        return comfyward("models", *arguments, environment=environment, text=text)

    listed = models("list", "ink", "--origin", "own")
    assert "loras/typed.safetensors  SDXL" in listed.stdout
    assert "1 workflow, 0 runs" in listed.stdout
    assert "trigger words: ink drawing" in models("show", "loras/typed.safetensors").stdout
    assert models("share", "loras/typed.safetensors").returncode == 1
    kept = models("delete", "loras/typed.safetensors", text="n\n")
    assert kept.returncode == 1
    assert "'Typed'" in kept.stderr
    assert one(client, "loras/typed.safetensors")
    deleted = models("delete", "/models/loras/typed.safetensors", text="y\n")
    assert models(*deleted.stdout.split("comfyward models ")[1].split()).stdout == (
        "Restored /models/loras/typed.safetensors\n"
    )
    assert models("show", "typed").returncode == 2


WRONG = b'{"__metadata__":{"modelspec.title":[1],"ss_tag_frequency":{}},"t":[]}'
HOSTILE = {
    "longer-than-the-file": struct.pack("<Q", 1 << 20) + b"{}",
    "longer-than-anything": struct.pack("<Q", (1 << 64) - 1) + b"{}",
    "of-no-length": struct.pack("<Q", 0),
    "shorter-than-a-length": b"\1\2",
    "deep": struct.pack("<Q", 200_000) + b"[" * 100_000 + b"]" * 100_000,
    "a-list": struct.pack("<Q", 2) + b"[]",
    "no-text": struct.pack("<Q", 8) + b"\xff" * 8,
    "of-many-values": struct.pack("<Q", 1_200_002) + b"[" + b"0," * 600_000 + b"]",
    "of-wrong-types": struct.pack("<Q", len(WRONG)) + WRONG,
}


def test_headers_of_strangers_tell_nothing_and_hide_nothing_else(stack: Stack) -> None:
    client = stack.client("hostile")
    for name, data in HOSTILE.items():
        upload(client, f"/models/loras/{name}.safetensors", data)
    upload(client, "/models/loras/good.safetensors", safetensors("hostile"))
    page = library(client, origin="own")  # which waits for the headers that it reads
    told = {each["name"].removesuffix(".safetensors"): each["architecture"] for each in page["models"]}
    assert told == {**dict.fromkeys(HOSTILE, ""), "good": "SDXL"}
    for name in HOSTILE:
        assert client.http.get(f"/api/v1/model-previews/loras/{name}.safetensors").status_code == 404, name
