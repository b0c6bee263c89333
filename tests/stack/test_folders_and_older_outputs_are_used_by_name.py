"""With the real ComfyUI: uploaded folders, `name [output]` without a run, uploads as output, names of any letters."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from tests import loopback
from tests.fakes.http import Origin
from tests.stack.graphs import load_and_save, node, picture, text_to_image
from tests.stack.stack import Client, Stack

pytestmark = pytest.mark.engine

RED, GREEN, BLUE = (255, 0, 0), (0, 128, 0), (0, 0, 255)
NO_SUCH_FOLDER = {"0.3.75": "node_error"}  # which does not compare what such a node is given with its choices


@pytest.fixture
def comfyui(real: Stack, client: Client) -> Iterator[httpx2.Client]:
    with loopback.Client(base_url=f"{real.url}/comfy", headers={"X-API-Key": client.key}, timeout=60) as http:
        yield http


def png(color: tuple[int, int, int]) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (16, 16), color).save(data, "PNG")
    return data.getvalue()


def upload(comfyui: httpx2.Client, name: str, data: bytes, **fields: str) -> dict[str, str]:
    answer = comfyui.post(
        "/upload/image", files={"image": (name, data, "image/png")}, data={"overwrite": "1", **fields}
    )
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def colors(client: Client, run: dict[str, Any]) -> list[Any]:
    assert run["status"] == "COMPLETED", run["error"]
    pictures = [client.http.get(output["url"]).content for output in run["output"]]
    return [Image.open(io.BytesIO(data)).convert("RGB").getpixel((0, 0)) for data in pictures]


def version(comfyui: httpx2.Client) -> str:
    return str(comfyui.get("/system_stats").json()["system"]["comfyui_version"])


def outcome(client: Client, graph: dict[str, Any]) -> str:
    """The code with which a graph is refused, or the reason for which its run ended."""
    answer = client.post_run({"prompt": graph}).json()
    return str(client.finish(answer["id"])["end_reason"] if "id" in answer else answer["code"])


def test_a_folder_of_uploads_is_used_by_its_name(real: Stack, client: Client, comfyui: httpx2.Client) -> None:
    for name, color in (("1", RED), ("two.png", GREEN), ("deeper/3.png", BLUE)):
        folder, _, base = f"of today/{name if '.' in name else name + '.png'}".rpartition("/")
        upload(comfyui, base, png(color), subfolder=folder)
    graph = {
        "1": node("LoadImageDataSetFromFolder", folder="of today"),
        "2": node("SaveImage", images=["1", 0], filename_prefix="x"),
    }

    assert sorted(colors(client, client.run(graph))) == sorted([RED, GREEN])  # a folder has no order
    deeper = client.run({**graph, "1": node("LoadImageDataSetFromFolder", folder="of today/deeper")})
    assert colors(client, deeper) == [BLUE]
    choices = comfyui.get("/object_info/LoadImageDataSetFromFolder").json()
    assert "of today" in str(choices)
    assert outcome(real.client("without folders"), graph) == NO_SUCH_FOLDER.get(version(comfyui), "invalid_graph")


def test_an_older_output_is_named_without_its_run(client: Client, comfyui: httpx2.Client) -> None:
    upload(comfyui, "mixed_00001_.png", png(BLUE))
    assert colors(client, client.run(picture(0xFF0000, prefix="mixed"))) == [RED]
    upload(comfyui, "as output.png", png(GREEN), type="output", subfolder="deep")
    upload(comfyui, "as temp.png", png(BLUE), type="temp")

    for name, color in (
        ("mixed_00001_.png [output]", RED),
        ("mixed_00001_.png", BLUE),
        ("deep/as output.png [output]", GREEN),
        ("as temp.png [temp]", BLUE),
    ):
        assert colors(client, client.run(load_and_save(name))) == [color], name


@pytest.mark.parametrize("name", ["never made.png [output]", "never shown.png [temp]", "../x.png [output]"])
def test_an_unknown_output_name_is_refused_before_the_queue(client: Client, comfyui: httpx2.Client, name: str) -> None:
    v1 = client.post_run({"prompt": load_and_save(name)})
    v2 = client.http.post("/api/v2/jobs", json={"workflow": load_and_save(name)})
    native = comfyui.post("/prompt", json={"prompt": load_and_save(name)})

    assert (v1.status_code, native.status_code) == (400, 400)
    assert 400 <= v2.status_code < 500
    assert "None of your runs has an output of this name" in v1.json()["hint"]
    assert native.json()["node_errors"]["1"]["errors"][0]["type"] == "value_not_in_list"


def test_pictures_of_any_name_are_loaded_and_saved(client: Client, comfyui: httpx2.Client) -> None:
    names = {
        "Screenshot 2026-11-26 at 9.41.12\u202fAM.png": RED,
        "20261126": GREEN,
        "family \U0001f468\u200d\U0001f469 50%#?.png": BLUE,
        "a\u0301\u3000.png": RED,
        "\u00e1\u3000.png": GREEN,
    }
    graph: dict[str, Any] = {}
    for index, (name, color) in enumerate(names.items()):
        upload(comfyui, name, png(color))
        graph[f"load{index}"] = node("LoadImage", image=name)
        graph[f"save{index}"] = node("SaveImage", images=[f"load{index}", 0], filename_prefix=f"{index} {name[-9:]}")

    assert colors(client, client.run(graph)) == list(names.values())


def test_a_model_is_named_as_on_windows(client: Client, site: Origin, tiny_models_dir: Path) -> None:
    graph = text_to_image(lora="style\\tiny-lora.safetensors")
    graph["checkpoint"] = node("CheckpointLoaderSimple", ckpt_name="house-tiny-sd15.safetensors")
    lora = site.put("/l", (tiny_models_dir / "one" / "tiny-lora.safetensors").read_bytes())

    missing = client.post_run({"prompt": graph})
    [path] = [word for word in missing.json()["hint"].split('"') if word.startswith("/models/")]
    as_the_hint_says = client.run(graph, files={path: lora})
    by_name_alone = client.run(graph)

    assert missing.status_code == 400
    for run in (as_the_hint_says, by_name_alone):
        assert run["status"] == "COMPLETED", run["error"]
        assert list(run["files"]) == ["/models/loras/style/tiny-lora.safetensors"]
