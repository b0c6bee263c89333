"""Starter workflows, each with its form. A starter brings the files that it needs, or names the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

COLOURS = (0x1B1B3A, 0x693668, 0xA74482, 0xF84AA7, 0xFF9FB2, 0xFFD6BA)
ORDINALS = ("First", "Second", "Third", "Fourth", "Fifth", "Sixth")
CHECKPOINT, LORA = "tiny-sd15.safetensors", "tiny-lora.safetensors"  # the demo's
SD15 = "v1-5-pruned-emaonly-fp16.safetensors"
SAMPLE = "lighthouse.jpg"
# Download URLs of the models that starters name.
MODEL_URLS = {SD15: f"https://huggingface.co/Comfy-Org/stable-diffusion-v1-5-archive/resolve/main/{SD15}"}


def colours_graph() -> dict[str, Any]:
    """A graph that needs no weights: coloured frames, saved as a picture and as a short video."""
    graph: dict[str, Any] = {
        str(index): _node("EmptyImage", f"{ordinal} colour", width=512, height=512, batch_size=2, color=colour)
        for index, (ordinal, colour) in enumerate(zip(ORDINALS, COLOURS, strict=True), 1)
    }
    frames = "1"
    for index in range(2, len(COLOURS) + 1):
        graph[f"batch{index}"] = _node("ImageBatch", image1=[frames, 0], image2=[str(index), 0])
        frames = f"batch{index}"
    graph["picture"] = _node("SaveImage", "Save the fourth colour", images=["4", 0], filename_prefix="colour")
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
    """A picture, made larger and sharper."""
    return {
        "load": _node("LoadImage", "Picture", image=SAMPLE),
        "scale": _node("ImageScaleBy", "Enlarge", image=["load", 0], upscale_method="lanczos", scale_by=2.0),
        "sharpen": _node("ImageSharpen", "Sharpen", image=["scale", 0], sharpen_radius=1, sigma=1.0, alpha=1.0),
        "save": _node("SaveImage", "Save", images=["sharpen", 0], filename_prefix="sharp"),
    }


def written_picture_graph() -> dict[str, Any]:
    """A picture from words, as ComfyUI's own first workflow makes it."""
    return {
        "model": _node("CheckpointLoaderSimple", "Model", ckpt_name=SD15),
        "prompt": _node("CLIPTextEncode", "Prompt", clip=["model", 1], text="a lighthouse at dusk, oil painting"),
        "avoid": _node("CLIPTextEncode", "Avoid", clip=["model", 1], text="blurry, text, watermark"),
        "size": _node("EmptyLatentImage", "Size", width=512, height=512, batch_size=1),
        "sampler": _node(
            "KSampler",
            "Paint",
            model=["model", 0],
            positive=["prompt", 0],
            negative=["avoid", 0],
            latent_image=["size", 0],
            seed=1,
            steps=20,
            cfg=7.0,
            sampler_name="euler",
            scheduler="normal",
            denoise=1.0,
        ),
        "decode": _node("VAEDecode", "Decode", samples=["sampler", 0], vae=["model", 2]),
        "save": _node("SaveImage", "Save", images=["decode", 0], filename_prefix="picture"),
    }


def _node(class_type: str, title: str | None = None, /, **inputs: Any) -> dict[str, Any]:
    node: dict[str, Any] = {"class_type": class_type, "inputs": inputs}
    return node if title is None else {**node, "_meta": {"title": title}}


@dataclass(frozen=True)
class Starter:
    """A starter workflow. `form` lists (input key, label) in order.

    `sample` is a file in samples/, copied to the account.
    """

    title: str
    description: str
    graph: Callable[[], dict[str, Any]]
    form: tuple[tuple[str, str], ...]
    sample: str | None = None
    model: str | None = None


STARTERS: dict[str, Starter] = {
    "colours": Starter(
        "Colours",
        "A picture and a short video from plain colours. Needs no model.",
        colours_graph,
        (
            *((f"{index}.color", f"{ordinal} colour") for index, ordinal in enumerate(ORDINALS, 1)),
            ("video.fps", "Pictures per second"),
        ),
    ),
    "sharpen": Starter(
        "Larger and sharper",
        "Doubles the size of a picture and sharpens it: a sample is there, and any picture of yours will do."
        " Needs no model.",
        touched_up_graph,
        (
            ("load.image", "Picture"),
            ("scale.scale_by", "How many times as large"),
            ("sharpen.alpha", "How much sharper"),
        ),
        sample=SAMPLE,
    ),
    "picture": Starter(
        "Picture from words",
        "Paints what you describe.",
        written_picture_graph,
        (
            ("prompt.text", "What to paint"),
            ("avoid.text", "What to avoid"),
            ("size.width", "Width"),
            ("size.height", "Height"),
            ("sampler.seed", "Seed"),
            ("sampler.steps", "Steps"),
            ("model.ckpt_name", "Model"),
        ),
        model=SD15,
    ),
}
