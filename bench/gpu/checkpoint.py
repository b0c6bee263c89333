"""Writes synthetic checkpoints of SD1.5's type, of any size, fast. Run by ComfyUI's own Python.

    python checkpoint.py COMFYUI_SOURCE FOLDER BLOCKS NAME …

Only shapes are taken from ComfyUI's modules; the values are one block of random numbers, repeated, scaled for each
tensor. With BLOCKS 0 it is the tests' tiny model; each block of 1,280 channels adds 59 MB, 92 of them make 6 GB.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

HEAD = {"image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 320, "num_res_blocks": [1]}
TAIL = {"context_dim": 768, "num_heads": 8, "use_spatial_transformer": True, "use_checkpoint": False, "legacy": False}
CLIP = {
    "vocab_size": 49408,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "projection_dim": 768,
}
RANDOM = 1 << 24  # numbers that are drawn once
MIDDLE_GREY = "taesd_decoder.19.bias"


def unet(blocks: int) -> dict[str, Any]:
    """The configuration of a U-Net with about as many transformer blocks, a quarter of them in each part."""
    each = max(1, blocks // 4)
    depths = {"transformer_depth": [each], "transformer_depth_output": [each, each], "transformer_depth_middle": each}
    return {**HEAD, "channel_mult": [4 if blocks else 1], **depths, **TAIL}


def main(source: str, folder: str, blocks: str, *names: str) -> None:
    sys.argv = [*sys.argv[:1], "--cpu"]
    sys.path.insert(0, source)
    import comfy.options

    comfy.options.enable_args_parsing()
    shapes = _shapes(int(blocks))
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        _write(shapes, target / f"{name}.part", zlib.crc32(name.encode()))
        (target / f"{name}.part").rename(target / name)


def _shapes(blocks: int) -> dict[str, tuple[int, ...]]:
    import comfy.ops
    import torch
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
    from comfy.taesd.taesd import TAESD
    from transformers import CLIPTextConfig, CLIPTextModel

    with torch.device("meta"):
        parts = {
            "model.diffusion_model.": UNetModel(**unet(blocks), operations=comfy.ops.disable_weight_init),
            "cond_stage_model.transformer.": CLIPTextModel(CLIPTextConfig(**CLIP)),
            "first_stage_model.": TAESD(),
        }
    found = {
        prefix + name: tuple(tensor.shape)
        for prefix, part in parts.items()
        for name, tensor in part.state_dict().items()
        if tensor.is_floating_point()
    }
    # transformers 5 has its text model without this level, which checkpoints have.
    old, prefix = "cond_stage_model.transformer.text_model.", "cond_stage_model.transformer."
    return {
        (old + name.removeprefix(prefix) if name.startswith(prefix) and not name.startswith(old) else name): shape
        for name, shape in found.items()
    }


def _write(shapes: dict[str, tuple[int, ...]], path: Path, seed: int) -> None:
    import numpy

    numbers = numpy.random.default_rng(seed).standard_normal(RANDOM, dtype=numpy.float32)
    header, at = {}, 0
    for name, shape in shapes.items():
        size = 2 * int(numpy.prod(shape))
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    said = json.dumps(header).encode()
    said += b" " * (-len(said) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(said)) + said)
        scaled: dict[float, Any] = {}
        for name, shape in shapes.items():
            _write_tensor(file, numbers, scaled, name, shape)
        file.flush()
        os.fsync(file.fileno())  # else the page cache could not be dropped


def _write_tensor(file: Any, numbers: Any, scaled: dict[float, Any], name: str, shape: tuple[int, ...]) -> None:
    """Weights are scaled so that activations stay in range through all layers, as in comfyward's tiny model."""
    import numpy

    count = int(numpy.prod(shape))
    if len(shape) < 2:
        value = 0.5 if name.endswith(MIDDLE_GREY) else float(name.endswith(("weight", "scale")))
        file.write(numpy.full(count, value, dtype=numpy.float16).tobytes())
        return
    factor = float(max(1, count // shape[0])) ** -0.5
    if factor not in scaled:
        scaled[factor] = (numbers * factor).astype(numpy.float16)
    while count > 0:
        count -= file.write(memoryview(scaled[factor][: min(count, RANDOM)]).cast("B")) // 2


if __name__ == "__main__":
    main(*sys.argv[1:])
