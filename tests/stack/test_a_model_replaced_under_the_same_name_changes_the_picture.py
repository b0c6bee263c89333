"""A name is not an identity: the pixels of every account come from the models that its own run named."""

import io
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfyward.comfy import install
from comfyward.comfy.releases import DEFAULT
from tests import loopback
from tests.fakes.http import Origin, origin
from tests.stack.graphs import node, text_to_image
from tests.stack.stack import Client, Stack

pytestmark = pytest.mark.engine

CHECKPOINT, LORA, VAE, EMBEDDING = "tiny-sd15.safetensors", "tiny-lora.safetensors", "tiny-vae.safetensors", "style.pt"

MAKE_EMBEDDING = """
import sys, torch
torch.manual_seed(int(sys.argv[2]))
torch.save({"string_to_param": {"*": torch.randn(2, 768)}}, sys.argv[1])
"""
TAKE_VAE = """
import sys
from safetensors.torch import load_file, save_file
prefix, weights = "first_stage_model.", load_file(sys.argv[2])
save_file({name[len(prefix):]: each for name, each in weights.items() if name.startswith(prefix)}, sys.argv[1])
"""


def _with_lora() -> dict[str, Any]:
    return text_to_image(seed=11)


def _with_lora_for_the_model_only() -> dict[str, Any]:
    graph = text_to_image(seed=11)
    lora = {"model": ["checkpoint", 0], "lora_name": LORA, "strength_model": 1.0}
    graph["lora"] = node("LoraLoaderModelOnly", **lora)
    graph["positive"]["inputs"]["clip"] = graph["negative"]["inputs"]["clip"] = ["checkpoint", 1]
    return graph


def _with_vae() -> dict[str, Any]:
    graph = text_to_image(seed=11)
    graph["vae"] = node("VAELoader", vae_name=VAE)
    graph["decode"]["inputs"]["vae"] = ["vae", 0]
    return graph


def _with_embedding() -> dict[str, Any]:
    return text_to_image(text="a lighthouse, embedding:style", seed=11)


@pytest.fixture(scope="module")
def site() -> Iterator[Origin]:
    """One for all: a model that another scenario brought is not fetched again."""
    with origin() as served:
        yield served


@pytest.fixture(scope="module")
def models(tiny_models_dir: Path, environments: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders, `one` and `two`, with models of the same names and other weights."""
    comfyui, folder = install.installed(environments, DEFAULT), tmp_path_factory.mktemp("replaced")
    assert comfyui is not None
    for seed in ("one", "two"):
        shutil.copytree(tiny_models_dir / seed, folder / seed, copy_function=os.symlink)
        arguments = {
            EMBEDDING: (MAKE_EMBEDDING, str(len(os.listdir(folder)))),
            VAE: (TAKE_VAE, folder / seed / CHECKPOINT),
        }
        for name, (script, argument) in arguments.items():
            subprocess.run([comfyui.python, "-c", script, folder / seed / name, str(argument)], check=True)
    return folder


@pytest.mark.parametrize(
    ("graph", "replaced"),
    [
        (_with_lora(), f"/models/loras/{LORA}"),
        (_with_lora_for_the_model_only(), f"/models/loras/{LORA}"),
        (_with_vae(), f"/models/vae/{VAE}"),
        (_with_embedding(), f"/models/embeddings/{EMBEDDING}"),
        (_with_lora(), f"/models/checkpoints/{CHECKPOINT}"),
    ],
    ids=["LoraLoader", "LoraLoaderModelOnly", "VAELoader", "embedding", "CheckpointLoaderSimple"],
)
def test_a_model_replaced_under_the_same_name_changes_the_picture(
    real: Stack, site: Origin, models: Path, graph: dict[str, Any], replaced: str
) -> None:
    def pixels(client: Client, version: str) -> bytes:
        text = str(graph)
        paths = {CHECKPOINT: "checkpoints", LORA: "loras", VAE: "vae", "embedding:": "embeddings"}
        needed = [
            (folder, EMBEDDING if name == "embedding:" else name) for name, folder in paths.items() if name in text
        ]
        files = {}
        for folder, name in needed:
            path = f"/models/{folder}/{name}"
            source = models / (version if path == replaced else "one") / name
            files[path] = site.put(f"/{source.parent.name}/{name}", source.read_bytes())
        return _pixels(client.run(graph, files=files))

    alice = real.client("alice")
    first = pixels(alice, "one")
    before = real.comfyui_pid()
    assert pixels(alice, "two") != first
    assert real.comfyui_pid() == before


def test_a_replaced_lora_that_is_not_applied_needs_no_new_process(real: Stack, site: Origin, models: Path) -> None:
    def run(version: str, strength: float) -> bytes:
        graph = _with_lora()
        graph["lora"]["inputs"] |= {"strength_model": strength, "strength_clip": strength}
        files = {
            f"/models/checkpoints/{CHECKPOINT}": models / "one" / CHECKPOINT,
            f"/models/loras/{LORA}": models / version / LORA,
        }
        urls = {path: site.put(f"/{file.parent.name}/{file.name}", file.read_bytes()) for path, file in files.items()}
        return _pixels(real.client("alice").run(graph, files=urls))

    applied = run("one", 1.0)
    before = real.comfyui_pid()

    assert run("two", 0.0) != applied
    assert real.comfyui_pid() == before


def test_the_operators_lora_replaced_on_disk_changes_the_picture(real: Stack, client: Client, models: Path) -> None:
    graph = text_to_image(seed=11, lora=f"house-{LORA}")
    graph["checkpoint"]["inputs"]["ckpt_name"] = f"house-{CHECKPOINT}"
    place = Path(real.settings["model_dirs"]) / "loras" / f"house-{LORA}"

    def put(version: str) -> None:
        shutil.copy(models / version / LORA, place.with_suffix(".new"))
        place.with_suffix(".new").replace(place)

    one = _pixels(client.run(graph))
    put("two")
    two = _pixels(client.run(graph))
    put("one")

    assert one != two
    assert _pixels(client.run(graph)) == one


def _pixels(run: dict[str, Any]) -> bytes:
    assert run["status"] == "COMPLETED", run["error"]
    return Image.open(io.BytesIO(loopback.get(run["output"][0]["url"]).content)).convert("RGB").tobytes()
