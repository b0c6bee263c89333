"""What Stable Diffusion WebUI wrote into a picture becomes a plain text-to-image graph; the rest is said."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfyward.dispatch.workflow_files import WorkflowFiles
from comfyward.files.pictures import Decoders
from comfyward.workflows.generation_parameters import MOST_CHARACTERS, OTHER_NOISE, graph_of_parameters
from comfyward.workflows.graph import parse_graph
from comfyward.workflows.graph_limit import GraphLimit
from tests import carriers

LIMIT = GraphLimit(1 << 20)
SETTINGS = "Steps: 25, Sampler: DPM++ 2M Karras, CFG scale: 6.5, Seed: 1234567890, Size: 512x768, Model: sd15"
MORE = 'VAE: kl.safetensors, TI hashes: "easynegative: c74b, other: 12", Lora hashes: "style: 1, two: 2", ENSD: 31337'
TEXT = f"""a (red:1.2) fox, <lora:style:0.8> <lora:two:0.5:0.25> easynegativeish
second line
Negative prompt: blurry, easynegative
worst
{SETTINGS}, Clip skip: 2, {MORE}, Version: v1.6.0"""


def made(text: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    found = graph_of_parameters(text)
    assert found is not None
    parse_graph(found.graph)
    return found.graph, found.remarks


def sampler(settings: str) -> dict[str, Any]:
    graph, _ = made(f"a cat\n{settings}")
    [node] = [node for node in graph.values() if node["class_type"] == "KSampler"]
    return dict(node["inputs"])


def test_every_part_has_its_node() -> None:
    graph, remarks = made(TEXT)

    assert [node["class_type"] for node in graph.values()] == [
        *("CheckpointLoaderSimple", "CLIPSetLastLayer", "VAELoader", "LoraLoader", "LoraLoader"),
        *("CLIPTextEncode", "CLIPTextEncode", "EmptyLatentImage", "KSampler", "VAEDecode", "SaveImage"),
    ]
    inputs = {node_id: node["inputs"] for node_id, node in graph.items()}
    assert inputs["1"] == {"ckpt_name": "sd15.safetensors"}
    assert inputs["2"] == {"clip": ["1", 1], "stop_at_clip_layer": -2}
    assert inputs["3"] == {"vae_name": "kl.safetensors"}
    assert inputs["4"] == {
        **{"model": ["1", 0], "clip": ["2", 0], "lora_name": "style.safetensors"},
        **{"strength_model": 0.8, "strength_clip": 0.8},
    }
    assert inputs["5"] == {
        **{"model": ["4", 0], "clip": ["4", 1], "lora_name": "two.safetensors"},
        **{"strength_model": 0.25, "strength_clip": 0.5},
    }
    assert inputs["6"] == {"clip": ["5", 1], "text": "a (red:1.2) fox, easynegativeish\nsecond line"}
    assert inputs["7"] == {"clip": ["5", 1], "text": "blurry, embedding:easynegative\nworst"}
    assert inputs["8"] == {"width": 512, "height": 768, "batch_size": 1}
    assert inputs["9"] == {
        **{"model": ["5", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["8", 0]},
        **{"seed": 1234567890, "steps": 25, "cfg": 6.5, "sampler_name": "dpmpp_2m", "scheduler": "karras"},
        **{"denoise": 1.0},
    }
    assert inputs["10"] == {"samples": ["9", 0], "vae": ["3", 0]}
    assert inputs["11"] == {"images": ["10", 0], "filename_prefix": "ComfyUI"}
    assert remarks == (
        "The checkpoint 'sd15' is taken to be the file 'sd15.safetensors'.",
        "Not carried over: ENSD (31337).",
        OTHER_NOISE,
    )


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("Sampler: Euler a", ("euler_ancestral", "normal")),
        ("Sampler: Euler, Schedule type: Automatic", ("euler", "normal")),
        ("Sampler: DPM++ 2M, Schedule type: Automatic", ("dpmpp_2m", "karras")),
        ("Sampler: DPM++ 2M", ("dpmpp_2m", "normal")),
        ("Sampler: DPM++ 3M SDE, Schedule type: Automatic", ("dpmpp_3m_sde", "exponential")),
        ("Sampler: DPM++ 2M SDE Exponential", ("dpmpp_2m_sde", "exponential")),
        ("Sampler: DPM++ SDE, Schedule type: SGM Uniform", ("dpmpp_sde", "sgm_uniform")),
        ("Sampler: LMS Karras", ("lms", "karras")),
        ("Sampler: DDIM", ("ddim", "ddim_uniform")),
        ("Sampler: UniPC, Schedule type: Beta", ("uni_pc", "beta")),
        ("Sampler: Restart", ("euler", "normal")),
        ("Sampler: Euler, Schedule type: Align Your Steps", ("euler", "normal")),
    ],
)
def test_samplers_and_schedules_have_comfyuis_names(settings: str, expected: tuple[str, str]) -> None:
    found = sampler(f"Steps: 20, {settings}, CFG scale: 7")

    assert (found["sampler_name"], found["scheduler"]) == expected


def test_what_has_no_like_here_is_said() -> None:
    text = (
        "a [cat:dog:0.5] BREAK <hypernet:anime:1>\nSteps: 20, Sampler: PLMS, Schedule type: Turbo, Size: 500x500, "
        'Denoising strength: 0.4, Hires upscale: 2, ControlNet 0: "preprocessor: canny, model: x"'
    )

    assert made(text)[1] == (
        "The checkpoint is not named: choose one.",
        "The hypernetwork 'anime' is left out: ComfyUI loads it otherwise.",
        "Positive prompt: BREAK, AND and [brackets] are plain words to ComfyUI.",
        "The size '500x500' became 496 x 496.",
        "The sampler 'PLMS' is unknown to ComfyUI: it became euler.",
        "The schedule 'Turbo' is unknown to ComfyUI: it became normal.",
        "Not carried over: Denoising strength (0.4), Hires upscale (2), ControlNet 0 (preprocessor: canny, model: x).",
        OTHER_NOISE,
    )


def test_numbers_that_no_node_takes_are_brought_into_its_range() -> None:
    found = sampler(f"Steps: {'9' * 30}, Sampler: Euler, CFG scale: {'9' * 500}, Seed: {'9' * 29}, Size: 0x{'9' * 20}")

    assert (found["steps"], found["cfg"], found["seed"]) == (10_000, 7.0, (1 << 64) - 1)


@pytest.mark.parametrize("text", ["", "a cat", "Steps: 20", "a\nSize: 1x1, Seed: 2, Model: x", "Negative prompt: a"])
def test_any_other_text_is_none(text: str) -> None:
    assert graph_of_parameters(text) is None


@pytest.mark.parametrize(
    "piece", ["a", "a:", '"', 'a:"', "<lora:", "<lora:a", "[", "[]", " ", "\\", 'a:"\\', "<lora:a:1>", "(", "a,"]
)
def test_no_text_takes_long(piece: str) -> None:
    """Bounded by the CPU time that it takes, which a busy machine does not change."""
    text = (piece * MOST_CHARACTERS)[: MOST_CHARACTERS - 200]
    began = time.process_time()

    graph_of_parameters(f"{text}\n{SETTINGS}")
    graph_of_parameters(f"a\n{text[:-100]}{SETTINGS}")

    assert time.process_time() - began < 5


@pytest.mark.parametrize("how", ["utf-16-be", "utf-16-le"])
async def test_pictures_of_each_kind_carry_them(tmp_path: Path, how: str) -> None:
    text = TEXT.replace("fox", "füchs")
    expected = made(text)[0]
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg", exif=carriers.exif_comment(text, how))
    Image.new("RGB", (8, 8)).save(tmp_path / "a.webp", exif=carriers.exif_comment(text, how))
    (tmp_path / "a.png").write_bytes(carriers.png({"parameters": text}))

    for name in ("a.jpg", "a.webp", "a.png"):
        found = await WorkflowFiles(Decoders(), LIMIT).read("me", tmp_path / name)
        assert (found.graph, found.editor_graph) == (expected, None)
        assert found.remarks


async def test_a_graph_beside_them_wins(tmp_path: Path) -> None:
    graph = '{"1": {"class_type": "A", "inputs": {}}}'
    (tmp_path / "a.png").write_bytes(carriers.png({"parameters": TEXT, "prompt": graph}))

    found = await WorkflowFiles(Decoders(), LIMIT).read("me", tmp_path / "a.png")

    assert (found.graph, found.remarks) == ({"1": {"class_type": "A", "inputs": {}}}, ())
