"""What names the pack of a missing node: the refusal, the route, the command, and the workflow's page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from comfyward.environments.finding.finder import Finder
from comfyward.environments.finding.map_files import MapFiles
from comfyward.environments.finding.registry_answers import RegistryAnswers
from comfyward.files.guard import Guard
from tests.fakes.http import origin
from tests.stack.conftest import StartFake
from tests.stack.graphs import node
from tests.stack.stack import Stack

FANCY = {"https://github.com/someone/fancy-nodes": [["Fancy/Upscale", "Fancy Blend"], {"title_aux": "Fancy"}]}
COMMAND = "comfyward environments add NAME git+https://github.com/someone/fancy-nodes@HEAD"
GRAPH = {"1": node("Fancy/Upscale"), "2": node("Fancy Blend"), "3": node("SaveImageAdvanced")}


@pytest.fixture(scope="module")
def server(start_fake_once: StartFake, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """A server with a map of its own, whose registry does not answer."""
    folder = tmp_path_factory.mktemp("map")
    for name, content in (("extension-node-map", FANCY), ("custom-node-list", {"custom_nodes": []})):
        (folder / f"{name}.json").write_text(json.dumps(content))
    stack = start_fake_once(node_map_dir=str(folder), node_registry_url="http://127.0.0.1:9")
    return stack.wait_ready()


def test_a_refused_graph_names_the_pack(server: Stack) -> None:
    answer = server.client().post_run({"prompt": GRAPH})

    body = answer.json()
    assert answer.status_code == 400
    assert "Fancy/Upscale is not installed: it is in the pack fancy-nodes" in body["message"]
    assert body["hint"].endswith(COMMAND)
    packs = {each["class_type"]: each["packs"][0] for each in body["details"]["problems"]}
    assert packs["Fancy Blend"]["command"] == COMMAND
    assert packs["SaveImageAdvanced"] == {
        "pack": "ComfyUI",
        "source": None,
        "comfyui": ">=0.24.1",
        "from": "core",
        "confidence": "certain",
        "command": None,
    }


def test_the_route_names_the_pack(server: Stack) -> None:
    http = server.client().http

    def packs(name: str, **params: str) -> Any:
        return http.get(f"/api/v1/nodes/{quote(name, safe='/')}/packs", params=params).json()

    found = packs("Fancy/Upscale")
    assert [(each["source"], each["from"], each["confidence"]) for each in found["packs"]] == [
        ("git+https://github.com/someone/fancy-nodes@HEAD", "map", "likely")
    ]
    assert packs("FakeSave")["packs"][0]["from"] == "installed"
    assert packs("Nobody Has This")["packs"] == []
    assert "No pack is known that has the class 'Nobody Has This'" in packs("Nobody Has This")["message"]
    assert http.get(f"/api/v1/nodes/{'x' * 301}/packs").status_code == 400

    editor = {"nodes": [{"id": 1, "type": "Noted", "properties": {"cnr_id": "noted", "ver": "1.2.0"}}], "links": []}
    made = http.post("/api/v1/workflows", json={"name": "Noted", "prompt": {"1": node("Noted")}}).json()["id"]
    http.patch(f"/api/v1/workflows/{made}", json={"workflow": editor}).raise_for_status()
    assert packs("Noted")["packs"] == []
    assert packs("Noted", workflow=made)["packs"][0]["source"] == "cnr:noted@1.2.0"
    stranger = server.client("somebody-else").http
    assert stranger.get("/api/v1/nodes/Noted/packs", params={"workflow": made}).status_code == 404


def test_the_page_of_a_workflow_names_the_pack(server: Stack) -> None:
    def page(account: str | None) -> str:
        made = server.client(account).http.post("/api/v1/workflows", json={"name": "Fancy", "prompt": GRAPH})
        return server.visitor(account).get(f"/workflows/{made.json()['id']}").text

    admins, members = page(None), page("a-member")
    for shown in (admins, members):
        assert "Fancy/Upscale is not installed: it is in the pack fancy-nodes." in shown
        assert "Fancy Blend is not installed: it is in the pack fancy-nodes." in shown
        assert "SaveImageAdvanced is not installed: it needs ComfyUI &gt;=0.24.1." in shown
    assert f"<code>{COMMAND}</code>" in admins
    assert COMMAND not in members


@pytest.fixture(scope="module")
def fetched(environments: Path) -> Finder:
    """A finder with the pinned map of ComfyUI-Manager, fetched from the package index."""
    files = MapFiles(environments)
    files.fetch()
    return Finder({}, RegistryAnswers("", Guard()), files)


def test_fifty_classes_are_found_without_the_registry(fetched: Finder) -> None:
    table = [line.rsplit("|", 2) for line in CLASSES.strip().splitlines()]
    names = [name for name, *_ in table]
    assert len(set(names)) == 50

    found = {name: fetched.known([name]).get(name, ()) for name in names}

    answers = [[name, str(each[0].origin), each[0].comfyui or each[0].pack] for name, each in found.items() if each]
    assert answers == [row for row in table if row[1] != "unknown"]
    assert [name for name in names if not found[name]] == [row[0] for row in table if row[1] == "unknown"]


def test_the_command_asks_the_registry_first(server: Stack, environments: Path) -> None:
    with origin() as site:
        newest = {"id": "kj", "latest_version": {"version": "1.4.2"}}
        site.put("/comfy-nodes/Fancy%20Blend/node", json.dumps(newest).encode())
        server.settings |= {"node_registry_url": site.url, "fetch_allow": "127.0.0.1"}

        shown = server.cli("environments", "find", "Fancy Blend", "KSampler", "Nobody Has This")

    assert shown.splitlines()[:4] == [
        "Fancy Blend",
        "  cnr:kj@1.4.2  (likely: the registry)",
        "KSampler",
        "  ComfyUI >=0.3.75  (certain: one of ComfyUI's own classes)",
    ]
    assert "No pack is known that has it" in shown


CLASSES = """
KSampler|core|>=0.3.75
LoadImage|core|>=0.3.75
SaveImageWebsocket|core|>=0.3.75
CLIPTextEncode|core|>=0.3.75
VAEDecodeTiled|core|>=0.3.75
LoadVideo|core|>=0.3.75
ColorTransfer|core|>=0.24.1
SaveImageAdvanced|core|>=0.24.1
AudioEqualizer3Band|core|>=0.16.3
ARVideoI2V|core|>=0.24.1
AnimaLLLiteApply|core|>=0.30.0
WanContextWindowsManual|core|>=0.3.75
PreviewAny|core|>=0.3.75
ETN_LoadImageBase64|map|comfyui-tooling-nodes
ETN_CropImage|unknown|
ETN_SendImageWebSocket|map|comfyui-tooling-nodes
IPAdapterAdvanced|map|ComfyUI_IPAdapter_plus
IPAdapterUnifiedLoader|map|ComfyUI_IPAdapter_plus
CannyEdgePreprocessor|map|comfyui_controlnet_aux
DWPreprocessor|map|comfyui_controlnet_aux
AIO_Preprocessor|map|comfyui_controlnet_aux
UnetLoaderGGUF|map|ComfyUI-GGUF
DualCLIPLoaderGGUF|map|ComfyUI-GGUF
FaceDetailer|map|ComfyUI-Impact-Pack
SAMLoader|map|ComfyUI-Impact-Pack
UltralyticsDetectorProvider|map|ComfyUI-Impact-Subpack
VHS_VideoCombine|map|ComfyUI-VideoHelperSuite
VHS_LoadVideo|map|ComfyUI-VideoHelperSuite
ImageResizeKJv2|map|ComfyUI-KJNodes
WidgetToString|map|ComfyUI-KJNodes
ADE_AnimateDiffLoaderGen1|map|ComfyUI-AnimateDiff-Evolved
ACN_AdvancedControlNetApply|map|ComfyUI-Advanced-ControlNet
ReActorFaceSwap|map|ComfyUI-ReActor
Florence2Run|map|ComfyUI-Florence2
DownloadAndLoadSAM2Model|map|ComfyUI-segment-anything-2
RIFE VFI|map|ComfyUI-Frame-Interpolation
easy fullLoader|map|ComfyUI-Easy-Use
ShowText|pysssss|map|ComfyUI-Custom-Scripts
Text Multiline|map|was-node-suite-comfyui
Image Overlay|map|efficiency-nodes-comfyui
Seed (rgthree)|pattern|rgthree-comfy
Power Lora Loader (rgthree)|pattern|rgthree-comfy
Seed Generator [Crystools]|pattern|ComfyUI-Crystools
ImageToBase64|map|comfyui-easyapi-nodes
PreViewVideo|map|ComfyUI-MimicMotion
TextNode|map|CosyVoice-ComfyUI
UltimateSDUpscale|map|ComfyUI_UltimateSDUpscale
Nobody Has This|unknown|
My Private Node|unknown|
NNLatentUpscale|map|ComfyUi_NNLatentUpscale
"""
