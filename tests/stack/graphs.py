"""Graphs that tests run."""

from __future__ import annotations

from typing import Any

TOLD = "/input/seconds.txt"


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def picture(color: int = 0xFF0000, prefix: str = "picture", size: int = 64) -> dict[str, Any]:
    """EmptyImage -> SaveImage."""
    return {
        "1": node("EmptyImage", width=size, height=size, batch_size=1, color=color),
        "2": node("SaveImage", images=["1", 0], filename_prefix=prefix),
    }


def load_and_save(image: str) -> dict[str, Any]:
    """LoadImage -> SaveImage."""
    return {"1": node("LoadImage", image=image), "2": node("SaveImage", images=["1", 0], filename_prefix="copy")}


def slow(steps: int = 200) -> dict[str, Any]:
    """A test node that takes `steps` steps of 50 ms, with progress, and listens to interrupts."""
    return {"1": node("TestSteps", steps=steps), "2": node("SaveImage", images=["1", 0], filename_prefix="slow")}


def text_to_image(text: str = "a lighthouse", seed: int = 1, lora: str = "tiny-lora.safetensors") -> dict[str, Any]:
    return {
        "checkpoint": node("CheckpointLoaderSimple", ckpt_name="tiny-sd15.safetensors"),
        "lora": node(
            "LoraLoader",
            model=["checkpoint", 0],
            clip=["checkpoint", 1],
            lora_name=lora,
            strength_model=1.0,
            strength_clip=1.0,
        ),
        "positive": node("CLIPTextEncode", clip=["lora", 1], text=text),
        "negative": node("CLIPTextEncode", clip=["lora", 1], text="blurry"),
        "latent": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "sampler": node(
            "KSampler",
            model=["lora", 0],
            positive=["positive", 0],
            negative=["negative", 0],
            latent_image=["latent", 0],
            seed=seed,
            steps=4,
            cfg=5.0,
            sampler_name="euler",
            scheduler="normal",
            denoise=1.0,
        ),
        "decode": node("VAEDecode", samples=["sampler", 0], vae=["checkpoint", 2]),
        "save": node("SaveImage", images=["decode", 0], filename_prefix="picture"),
    }


def fake_save(text: str = "hello") -> dict[str, Any]:
    return {"1": node("FakeSave", text=text)}


def fake_wait_as_told() -> dict[str, Any]:
    """Waits for the seconds in the run's file TOLD, which each attempt reads anew."""
    return {"1": node("FakeWaitAsTold", file=TOLD.rpartition("/")[2]), "2": node("FakeSave", text="waited")}


def fake_wait(seconds: float, class_type: str = "FakeWait") -> dict[str, Any]:
    return {"1": node(class_type, seconds=seconds), "2": node("FakeSave", text="waited")}
