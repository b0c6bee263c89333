"""An operator's own ComfyUI with packs as people have them: they write into their folders, make folders, list models in
ways of their own; one does not load. What a run brings, and what is there, is found by all of them."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uv
from PIL import Image

from tests.conftest import ROOT, installation
from tests.stack.graphs import node, picture
from tests.stack.stack import Client, Stack

pytestmark = pytest.mark.engine

HOUSE = ("ultralytics/bbox/house.pt", "plain/house.dat", "unet/house.gguf", "vae/house.safetensors", "own/x.txt")


@pytest.fixture(scope="module")
def own(engine: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    found = installation(engine)
    comfyui = tmp_path_factory.mktemp("own") / "ComfyUI"
    shutil.copytree(found.source, comfyui)
    for name in ("models", "custom_nodes", "input"):
        shutil.rmtree(comfyui / name, ignore_errors=True)
    shutil.copytree(ROOT / "packs", comfyui / "custom_nodes")
    _add_packs_of_the_registry(comfyui / "custom_nodes", tmp_path_factory.mktemp("registry"))
    for name in HOUSE:
        path = comfyui / "models" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"the house's {name}")
    settings = {
        "comfyui": str(comfyui),
        "comfyui_python": str(found.python),
        "fetch_allow": "127.0.0.1",
        "editor": "false",
    }
    before = _everything_in(comfyui)
    stack = Stack(tmp_path_factory.mktemp("own-data"), settings)
    try:
        yield stack.start().wait_ready()
        assert stack.stop() == 0
        assert _everything_in(comfyui) == before  # it is never written to
    finally:
        stack.close()


@pytest.fixture
def client(own: Stack) -> Client:
    return own.client()


def _add_packs_of_the_registry(target: Path, folder: Path) -> None:
    """Two that work, and one whose package lacks the file that ComfyUI imports."""
    pins = ROOT / "packs" / "from_registry.txt"
    command = [uv.find_uv_bin(), "pip", "install", "--no-deps", "--require-hashes", "--target", str(folder)]
    subprocess.run([*command, "--python", sys.executable, "-r", str(pins)], check=True, capture_output=True)
    for name in ("comfyui_tooling_nodes", "ComfyUI_Ib_CustomNodes"):
        shutil.move(folder / name, target)
    for name in ("llm", "utils", "web"):
        shutil.move(folder / name, target / "comfyui-siberianodes" / name)


def _everything_in(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if "__pycache__" not in path.parts}


def texts(run: dict[str, Any]) -> list[str]:
    assert run["status"] == "COMPLETED", run["error"]
    return [line for output in run["output"] for line in str(output["text"]).split("\n")]


def bring(client: Client, path: str, text: str) -> None:
    answer = client.http.post("/api/v1/files", params={"path": path}, content=text.encode())
    assert answer.status_code == 201, answer.text


def test_packs_of_the_registry_work(client: Client) -> None:
    graph = {**picture(size=64), "3": node("ETN_CropImage", image=["1", 0], x=8, y=8, width=16, height=24)}
    graph["2"]["inputs"]["images"] = ["3", 0]

    run = client.run(graph)

    assert run["status"] == "COMPLETED", run["error"]
    assert Image.open(io.BytesIO(client.http.get(run["output"][0]["url"]).content)).size == (16, 24)
    packs = {node["python_module"] for node in client.http.get("/comfy/object_info").json().values()}
    assert {"custom_nodes.comfyui_tooling_nodes", "custom_nodes.ComfyUI_Ib_CustomNodes"} <= packs


def test_packs_write_and_make_folders_when_they_are_imported(client: Client) -> None:
    assert texts(client.run({"1": node("WritesAtImport", colour="red")})) == ["red"]
    assert texts(client.run({"1": node("TestFolders")})) == ["at", "restore"]
    core = client.http.get("/api/v1/nodes/Load3D")
    assert core.status_code == 200, core.text


def test_a_pack_imports_itself_as_an_installed_package(client: Client) -> None:
    assert texts(client.run({"1": node("ImportsItself")})) == ["imported"]


@pytest.mark.parametrize(
    ("class_type", "name", "house", "path", "brought"),
    [
        ("TestGGUF", "house.gguf", "unet/house.gguf", "/models/unet/mine.gguf", "mine.gguf"),
        ("TestGGUF", "house.gguf", "unet/house.gguf", "/models/diffusion_models/sub/new.gguf", "sub/new.gguf"),
        ("TestUltralytics", "bbox/house.pt", HOUSE[0], "/models/ultralytics/bbox/face.pt", "bbox/face.pt"),
        ("TestUltralytics", "bbox/house.pt", HOUSE[0], "/models/ultralytics/segm/all.onnx", "segm/all.onnx"),
        ("TestStems", "house", "vae/house.safetensors", "/models/vae/sharp.ckpt", "sharp"),
        ("TestTogether", None, None, "/models/loras/ink.pt", "[lora] ink.pt"),
        ("TestTogether", None, None, "/models/checkpoints/sub/sd.ckpt", "[ckpt] sub/sd.ckpt"),
        ("TestPlain", "house.dat", "plain/house.dat", "/models/plain/plain.dat", "plain.dat"),
        ("TestOwn", None, None, "/models/own_models/mine.bin", "mine.bin"),
    ],
)
def test_a_loader_finds_what_is_there_and_what_a_run_brings(
    own: Stack, client: Client, class_type: str, name: str | None, house: str | None, path: str, brought: str
) -> None:
    if name is not None:
        assert texts(client.run({"1": node(class_type, name=name, mode="fast")})) == [f"the house's {house}"]
    graph = {"1": node(class_type, name=brought, mode="fast")}

    refused = client.post_run({"prompt": graph})
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_graph"), refused.text
    run = client.run(graph, files={path: f"data:text/plain,of this run {path}"})
    assert texts(run) == [f"of this run {path}"]

    other = own.client(f"keeps {path}")
    bring(other, path, f"kept {path}")
    assert texts(other.run(graph)) == [f"kept {path}"]
    listed = other.http.get(f"/comfy/object_info/{class_type}").json()[class_type]["input"]["required"]["name"]
    assert brought in listed[0]
    wrong = other.post_run({"prompt": {"1": node(class_type, name=brought, mode="slow")}})
    assert (wrong.status_code, "value_not_in_list" in wrong.text) == (400, True), wrong.text


@pytest.mark.parametrize("value", [{"on": True, "lora": "sub/ink.pt", "strength": 1}, '{"lora": "sub/ink.pt"}'])
def test_names_in_objects_and_in_json_bring_their_files(own: Stack, value: Any) -> None:
    client = own.client("has a lora")
    bring(client, "/models/loras/sub/ink.pt", "ink")

    assert texts(client.run({"1": node("TestPowerLoras", lora_1=value)})) == ["ink"]


@pytest.mark.parametrize("text", ["a cat, (embedding:styles/ink:1.2)", "embedding:styles/ink.pt, a cat"])
def test_an_embedding_that_a_text_names_is_there(own: Stack, text: str) -> None:
    client = own.client("has an embedding")
    bring(client, "/models/embeddings/styles/ink.pt", "strokes")
    bring(client, "/models/embeddings/unnamed.pt", "not asked for")

    assert texts(client.run({"1": node("TestReadsEmbeddings", text=text)})) == ["ink.pt=strokes"]


def test_values_only_comfyui_understands_are_passed_through(client: Client) -> None:
    graph = {
        "1": node("TestAnySource"),
        "2": node("TestAnySink", any=["1", 3], listed="whatever", fixed="c", checked="anything"),
    }
    assert texts(client.run(graph)) == ["3,whatever,c,anything"]

    graph["2"]["inputs"]["checked"] = "no"
    run = client.run(graph)
    assert run["end_reason"] == "validation"
    assert "it must begin with a" in str(run["error"])
    assert client.post_run({"prompt": {"1": node("TestUndescribed")}}).status_code == 200


@pytest.mark.parametrize(("path", "kind"), [("/input/mine.txt", "input"), ("/models/loras/mine.pt", "loras")])
def test_a_node_may_write_beside_a_runs_files_but_not_to_them(own: Stack, path: str, kind: str) -> None:
    client = own.client("mallory")
    bring(client, path, "shared bytes")
    graph = {"1": node("TestFolderHarm", name=path.rpartition("/")[2], kind=kind)}

    refused = ["write: refused", "truncate: refused", "mode: refused", "link: refused"]
    for _ in range(2):
        assert texts(client.run(graph, files={path: "data:text/plain,shared bytes"})) == [*refused, "beside: done"]
    [left] = texts(client.run({"1": node("TestInputFolder")}))
    assert set(left.split(",")) - {"3d"} == {"made"}  # ComfyUI's own Load3D makes 3d whenever it is asked
    cached = [each.read_bytes() for each in (own.data_dir / "cache" / "blobs").rglob("*") if each.is_file()]
    assert b"shared bytes" in cached
    assert not any(each.startswith(b"harm") for each in cached)


def test_a_pack_that_fails_to_load_is_reported_everywhere(own: Stack, client: Client, visitor: httpx2.Client) -> None:
    why = "ModuleNotFoundError: No module named 'a_package_that_nobody_has'"

    answer = client.post_run({"prompt": {"1": node("TestFaceDetailer")}}).json()
    assert f"it comes from does_not_load, which did not load: {why}" in answer["message"]
    assert client.http.get("/readyz").status_code == 200
    assert (
        f'comfyward_not_loaded{{error="{why}",kind="pack",name="does_not_load"}} 1.0'
        in client.http.get("/metrics").text
    )
    assert f"does_not_load: {why}" in own.cli("comfyui", "show")
    assert "comfyui-siberianodes: FileNotFoundError" in own.cli("comfyui", "show")
    page = visitor.get("/fleet").text
    assert "does_not_load" in page
    assert "a_package_that_nobody_has" in page
    assert "TestUndescribed" in page


@pytest.fixture
def visitor(own: Stack) -> httpx2.Client:
    return own.visitor()
