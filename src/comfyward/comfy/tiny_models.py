"""Writes a tiny checkpoint and LoRA of SD1.5's type, with seeded random weights. Run by ComfyUI's own Python.

    python tiny_models.py COMFYUI_SOURCE FOLDER [SEED]

They draw noise, but ComfyUI loads, patches and samples them like any other model.
"""

from __future__ import annotations

import sys
from pathlib import Path

UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 320,
    "num_res_blocks": [1],
    "channel_mult": [1],
    "transformer_depth": [1],
    "transformer_depth_output": [1, 1],
    "transformer_depth_middle": 1,
    "context_dim": 768,
    "num_heads": 8,
    "use_spatial_transformer": True,
    "use_checkpoint": False,
    "legacy": False,
}
LORA_LAYER = "lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q"
LORA_RANK = 4
LORA_STRENGTH = 0.5
MIDDLE_GREY = "taesd_decoder.19.bias"  # added by the decoder to its noise


def main(source: str, folder: str, seed: int = 7) -> None:
    sys.argv = [*sys.argv[:1], "--cpu"]
    sys.path.insert(0, source)
    import comfy.options

    comfy.options.enable_args_parsing()
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    save_file(_checkpoint(torch), target / "tiny-sd15.safetensors")
    save_file(_lora(torch), target / "tiny-lora.safetensors")


def _checkpoint(torch):
    import comfy.ops
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
    from comfy.taesd.taesd import TAESD
    from transformers import CLIPTextConfig, CLIPTextModel

    clip = CLIPTextConfig(
        vocab_size=49408,
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        max_position_embeddings=77,
        hidden_act="quick_gelu",
        projection_dim=768,
    )
    parts = {
        "model.diffusion_model.": UNetModel(**UNET, operations=comfy.ops.disable_weight_init),
        "cond_stage_model.transformer.": CLIPTextModel(clip),
        "first_stage_model.": TAESD(),
    }
    weights = {}
    for prefix, part in parts.items():
        for name, tensor in part.state_dict().items():
            weights[prefix + name] = _random_like(torch, name, tensor)
    return weights


def _random_like(torch, name, tensor):
    """Random weights, scaled so that activations stay in range through all layers."""
    if not tensor.is_floating_point():
        return tensor.contiguous()
    if name == MIDDLE_GREY:
        return torch.full(tensor.shape, 0.5, dtype=torch.float16)
    if tensor.dim() < 2:  # scales and shifts
        fill = torch.ones if name.endswith(("weight", "scale")) else torch.zeros
        return fill(tensor.shape, dtype=torch.float16)
    fan_in = max(1, tensor[0].numel())
    return (torch.randn(tensor.shape) * fan_in**-0.5).half().contiguous()


def _lora(torch):
    return {
        f"{LORA_LAYER}.lora_down.weight": torch.randn(LORA_RANK, 320).half(),
        f"{LORA_LAYER}.lora_up.weight": (torch.randn(320, LORA_RANK) * LORA_STRENGTH).half(),
        f"{LORA_LAYER}.alpha": torch.tensor(float(LORA_RANK)).half(),
    }


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *(int(seed) for seed in sys.argv[3:4]))
