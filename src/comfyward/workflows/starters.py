"""Graphs to begin with. Those in STARTERS need no weights; the other one runs with the demo's tiny models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

COLOURS = (0x1B1B3A, 0x693668, 0xA74482, 0xF84AA7, 0xFF9FB2, 0xFFD6BA)
CHECKPOINT, LORA = "tiny-sd15.safetensors", "tiny-lora.safetensors"


def colours_graph() -> dict[str, Any]:
    """A graph that needs no weights: coloured frames, saved as a picture and as a short video."""
    graph: dict[str, Any] = {
        str(index): _node("EmptyImage", width=256, height=256, batch_size=2, color=colour)
        for index, colour in enumerate(COLOURS, 1)
    }
    frames = "1"
    for index in range(2, len(COLOURS) + 1):
        graph[f"batch{index}"] = _node("ImageBatch", image1=[frames, 0], image2=[str(index), 0])
        frames = f"batch{index}"
    graph["picture"] = _node("SaveImage", images=["4", 0], filename_prefix="colour")
    graph["video"] = _node("CreateVideo", images=[frames, 0], fps=6.0)
    graph["save"] = _node("SaveVideo", video=["video", 0], filename_prefix="colours", format="mp4", codec="h264")
    return graph


def text_to_image_graph() -> dict[str, Any]:
    """CheckpointLoaderSimple, LoraLoader, CLIPTextEncode, KSampler, VAEDecode, SaveImage."""
    return {
        "checkpoint": _node("CheckpointLoaderSimple", ckpt_name=CHECKPOINT),
        "lora": _node(
            "LoraLoader",
            model=["checkpoint", 0],
            clip=["checkpoint", 1],
            lora_name=LORA,
            strength_model=1.0,
            strength_clip=1.0,
        ),
        "positive": _node("CLIPTextEncode", clip=["lora", 1], text="a lighthouse at night"),
        "negative": _node("CLIPTextEncode", clip=["lora", 1], text="blurry"),
        "latent": _node("EmptyLatentImage", width=128, height=128, batch_size=1),
        "sampler": _node(
            "KSampler",
            model=["lora", 0],
            positive=["positive", 0],
            negative=["negative", 0],
            latent_image=["latent", 0],
            seed=1,
            steps=8,
            cfg=5.0,
            sampler_name="euler",
            scheduler="normal",
            denoise=1.0,
        ),
        "decode": _node("VAEDecode", samples=["sampler", 0], vae=["checkpoint", 2]),
        "save": _node("SaveImage", images=["decode", 0], filename_prefix="lighthouse"),
    }


def touched_up_graph() -> dict[str, Any]:
    """A picture of the user's, made larger and sharper."""
    return {
        "load": _node("LoadImage", image="example.png"),
        "scale": _node("ImageScaleBy", image=["load", 0], upscale_method="lanczos", scale_by=2.0),
        "sharpen": _node("ImageSharpen", image=["scale", 0], sharpen_radius=1, sigma=1.0, alpha=1.0),
        "save": _node("SaveImage", images=["sharpen", 0], filename_prefix="sharp"),
    }


def _node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


@dataclass(frozen=True)
class Starter:
    title: str
    description: str
    graph: Callable[[], dict[str, Any]]


STARTERS: dict[str, Starter] = {
    "colours": Starter("Colours", "A picture and a short video from plain colours. Needs no model.", colours_graph),
    "sharpen": Starter(
        "Larger and sharper",
        "Takes a picture of yours, doubles its size and sharpens it. Needs no model.",
        touched_up_graph,
    ),
}
