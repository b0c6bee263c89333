"""Graphs that the checks run: of the pack's nodes, and of ComfyUI's own."""

from __future__ import annotations

from typing import Any

Graph = dict[str, Any]


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def of(class_type: str, **inputs: Any) -> Graph:
    """One node of the pack."""
    return {"1": node(class_type, **inputs)}


def picture(color: int) -> Graph:
    """EmptyImage -> SaveImage: as little as a run can do."""
    return {
        "1": node("EmptyImage", width=64, height=64, batch_size=1, color=color),
        "2": node("SaveImage", images=["1", 0], filename_prefix="gpucheck"),
    }


def text_to_image(checkpoint: str, seed: int, steps: int = 2, size: int = 64) -> Graph:
    return {
        "checkpoint": node("CheckpointLoaderSimple", ckpt_name=checkpoint),
        "text": node("CLIPTextEncode", clip=["checkpoint", 1], text="a lighthouse"),
        "latent": node("EmptyLatentImage", width=size, height=size, batch_size=1),
        "sampler": node(
            "KSampler",
            model=["checkpoint", 0],
            positive=["text", 0],
            negative=["text", 0],
            latent_image=["latent", 0],
            seed=seed,
            steps=steps,
            cfg=1.0,
            sampler_name="euler",
            scheduler="normal",
            denoise=1.0,
        ),
        "decode": node("VAEDecode", samples=["sampler", 0], vae=["checkpoint", 2]),
        "save": node("SaveImage", images=["decode", 0], filename_prefix="gpucheck"),
    }
