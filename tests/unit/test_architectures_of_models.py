"""The base architecture of a model follows from its tensors' names and shapes, or from what its trainer wrote."""

from __future__ import annotations

from typing import Any

import pytest

from comfyward.workflows.architectures import architecture_of

UNET = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
DIFFUSERS = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight"
KOHYA = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight"


def tensor(*shape: int) -> dict[str, Any]:
    return {"dtype": "F16", "shape": list(shape), "data_offsets": [0, 2]}


BY_TENSORS = [
    ({UNET: tensor(640, 768)}, "SD 1.5"),
    ({UNET: tensor(640, 1024)}, "SD 2"),
    ({UNET: tensor(640, 2048)}, "SDXL"),
    ({UNET: tensor(768, 1280)}, "SDXL Refiner"),
    ({DIFFUSERS: tensor(640, 2048)}, "SDXL"),
    ({KOHYA: tensor(16, 768)}, "SD 1.5"),
    ({KOHYA: tensor(16, 2048)}, "SDXL"),
    ({"lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": tensor(16, 1280)}, "SDXL"),
    ({"clip_g": tensor(4, 1280), "clip_l": tensor(4, 768)}, "SDXL"),
    ({"emb_params": tensor(4, 768)}, "SD 1.5"),
    ({"model.diffusion_model.joint_blocks.0.context_block.attn.qkv.weight": tensor(1, 1)}, "SD 3"),
    (
        {
            "joint_blocks.0.context_block.attn.qkv.weight": tensor(1, 1),
            "joint_blocks.0.x_block.attn.ln_q.weight": tensor(64),
        },
        "SD 3.5",
    ),
    ({"double_blocks.0.img_attn.norm.key_norm.scale": tensor(128)}, "Flux"),
    ({"lora_unet_double_blocks_0_img_attn_proj.lora_down.weight": tensor(16, 3072)}, "Flux"),
    ({"transformer.single_transformer_blocks.0.attn.to_k.lora_A.weight": tensor(16, 3072)}, "Flux"),
    (
        {
            "double_blocks.0.img_attn.norm.key_norm.scale": tensor(128),
            "double_stream_modulation_img.lin.weight": tensor(1),
        },
        "Flux 2",
    ),
    (
        {
            "double_blocks.0.img_attn.norm.key_norm.scale": tensor(128),
            "distilled_guidance_layer.norms.0.scale": tensor(1),
        },
        "Chroma",
    ),
    (
        {
            "double_blocks.0.img_attn.norm.key_norm.scale": tensor(128),
            "txt_in.individual_token_refiner.blocks.0.norm1.weight": tensor(1),
        },
        "HunyuanVideo",
    ),
    ({"model.diffusion_model.head.modulation": tensor(1, 2, 5120)}, "Wan"),
    ({"diffusion_model.blocks.0.cross_attn.k.lora_A.weight": tensor(16, 5120)}, "Wan"),
    ({"model.diffusion_model.txt_norm.weight": tensor(3584)}, "Qwen-Image"),
    ({"cap_embedder.1.weight": tensor(2304, 2304)}, "Lumina 2"),
    ({"cap_embedder.1.weight": tensor(3840, 2560)}, "Z-Image"),
    ({"patchify_proj.weight": tensor(2048, 128)}, "LTX-Video"),
    ({"clip_txt_mapper.weight": tensor(1, 1)}, "Stable Cascade"),
    # The attention of LTX-Video's LoRAs is as wide as SDXL's: what is no U-Net is not taken for one.
    ({"diffusion_model.transformer_blocks.0.attn2.to_k.lora_A.weight": tensor(16, 2048)}, ""),
    ({"decoder.conv_in.weight": tensor(512, 4, 3, 3)}, ""),
    ({}, ""),
]


@pytest.mark.parametrize(("tensors", "name"), BY_TENSORS)
def test_tensors_tell_it(tensors: dict[str, Any], name: str) -> None:
    assert architecture_of(tensors, {}) == name


@pytest.mark.parametrize(
    ("key", "said", "name"),
    [
        ("modelspec.architecture", "stable-diffusion-xl-v1-base/lora", "SDXL"),
        ("modelspec.architecture", "stable-diffusion-v1", "SD 1.5"),
        ("modelspec.architecture", "stable-diffusion-v2-768-v", "SD 2"),
        ("modelspec.architecture", "stable-diffusion-v3-medium", "SD 3"),
        ("modelspec.architecture", "stable-diffusion-3.5-large", "SD 3.5"),
        ("modelspec.architecture", "flux-1-dev/lora", "Flux"),
        ("ss_base_model_version", "sd_v1", "SD 1.5"),
        ("ss_base_model_version", "sd_v2_v", "SD 2"),
        ("ss_base_model_version", "sdxl_base_v1-0", "SDXL"),
        ("ss_base_model_version", "sd3m", "SD 3"),
        ("ss_base_model_version", "flux1", "Flux"),
        ("ss_base_model_version", "something new", ""),
    ],
)
def test_trainers_tell_it(key: str, said: str, name: str) -> None:
    assert architecture_of({}, {key: said}) == name


def test_tensors_are_believed_before_words() -> None:
    assert architecture_of({KOHYA: tensor(16, 2048)}, {"ss_base_model_version": "sd_v1"}) == "SDXL"


@pytest.mark.parametrize("wrong", [None, 1, "x", [], {"shape": None}, {"shape": ["a"]}, {"shape": {}}, {"shape": []}])
def test_values_of_wrong_types_tell_nothing(wrong: Any) -> None:
    assert architecture_of({UNET: wrong, "emb_params": wrong, "cap_embedder.0": wrong}, {}) == ""
    assert architecture_of({}, {"modelspec.architecture": wrong, "ss_base_model_version": wrong}) == ""
