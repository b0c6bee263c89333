"""The base architecture of a model, by what its file says of itself. Pure.

The names and shapes of tensors come first, since they cannot be wrong; then what trainers wrote beside them.
(Sources: ComfyUI's comfy/model_detection.py; the SAI model specification; kohya's sd-scripts.)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# Tensors that one architecture alone has, whatever precedes their names: the first pattern that is found decides.
_SIGNS: tuple[tuple[str, str], ...] = (
    (r"double_stream_modulation_img\.lin\.weight$", "Flux 2"),
    (r"distilled_guidance_layer[._]", "Chroma"),
    (r"txt_in[._]individual_token_refiner[._]", "HunyuanVideo"),
    (r"single_transformer_blocks[._]\d|double_blocks[._]\d+[._]img_(?:attn|mod|mlp)[._]", "Flux"),
    (r"joint_blocks[._]\d+[._]x_block[._]attn[._]ln_q\.weight$", "SD 3.5"),
    (r"joint_blocks[._]\d+[._]", "SD 3"),
    (r"(?:^|\.)txt_norm\.weight$|transformer_blocks[._]\d+[._]img_mlp[._]", "Qwen-Image"),
    (r"(?:^|\.)head\.modulation$|blocks[._]\d+[._]cross_attn[._](?:q|k|v|o)[._]", "Wan"),
    (r"(?:^|\.)mlp_t5\.0\.weight$", "Hunyuan-DiT"),
    (r"(?:^|\.)t_block\.1\.weight$", "PixArt"),
    (r"(?:^|\.)patchify_proj\.weight$", "LTX-Video"),
    (r"(?:^|\.)double_layers\.0\.attn\.w1q\.weight$", "AuraFlow"),
    (r"(?:^|\.)t5_yproj\.weight$", "Mochi"),
    (r"(?:^|\.)(?:clip_txt_mapper|clip_txt_pooled_mapper|clip_mapper)\.weight$", "Stable Cascade"),
    (r"(?:^|\.)caption_projection\.0\.linear\.weight$", "HiDream"),
    (r"(?:^|\.)genre_embedder\.weight$", "ACE-Step"),
    (r"(?:^|\.)transformer\.rotary_pos_emb\.inv_freq$", "Stable Audio"),
    (r"(?:^|\.)time_caption_embed\.timestep_embedder\.linear_1\.bias$", "OmniGen 2"),
    (r"(?:^|\.)blocks\.block0\.blocks\.0\.block\.attn\.to_q\.0\.weight$", "Cosmos"),
)
_SIGN = re.compile("|".join(f"(?P<s{number}>{pattern})" for number, (pattern, _) in enumerate(_SIGNS)))
# Lumina 2 and Z-Image have the same names; the width of their captions' embedding tells them apart.
_CAPTIONS = re.compile(r"(?:^|\.)cap_embedder\.1\.weight$")
_Z_IMAGE_WIDTH = 3840
# Attention to the text of U-Nets, in the names of ComfyUI, diffusers and kohya: the width of the text decides.
_TO_TEXT = re.compile(
    r"(?:input_blocks|output_blocks|middle_block|down_blocks|up_blocks|mid_block)[._].*"
    r"attn2[._]to_k\.(?:weight|lora_down\.weight|lora_A\.(?:default\.)?weight)$"
)
_UNETS = {768: "SD 1.5", 1024: "SD 2", 2048: "SDXL", 1280: "SDXL Refiner"}
# Text encoders inside LoRAs, and embeddings, which have nothing else.
_SDXL_TEXT = re.compile(r"^lora_te[12]_|^clip_[gl]$")
_EMBEDDINGS = {768: "SD 1.5", 1024: "SD 2"}

# What trainers and publishers write, in the order in which the words are looked for.
_WORDS: tuple[tuple[str, str], ...] = (
    (r"flux[\W_]*2", "Flux 2"),
    (r"flux", "Flux"),
    (r"chroma", "Chroma"),
    (r"refiner", "SDXL Refiner"),
    (r"stable[\W_]*diffusion[\W_]*xl|sd[\W_]*xl", "SDXL"),
    (r"stable[\W_]*diffusion[\W_]*(?:v[\W_]*)?3[\W_]*5|sd[\W_]*3[\W_]*5", "SD 3.5"),
    (r"stable[\W_]*diffusion[\W_]*(?:v[\W_]*)?3|sd[\W_]*3", "SD 3"),
    (r"stable[\W_]*diffusion[\W_]*v?[\W_]*2|sd[\W_]*v?[\W_]*2", "SD 2"),
    (r"stable[\W_]*diffusion[\W_]*v?[\W_]*1|sd[\W_]*v?[\W_]*1", "SD 1.5"),
    (r"cascade", "Stable Cascade"),
    (r"hunyuan[\W_]*video", "HunyuanVideo"),
    (r"hunyuan[\W_]*dit", "Hunyuan-DiT"),
    (r"qwen[\W_]*image", "Qwen-Image"),
    (r"wan[\W_]*(?:2|video)", "Wan"),
    (r"ltx", "LTX-Video"),
    (r"z[\W_]*image", "Z-Image"),
    (r"lumina", "Lumina 2"),
    (r"hidream", "HiDream"),
    (r"pixart", "PixArt"),
    (r"aura[\W_]*flow", "AuraFlow"),
)
_SAID = [(re.compile(pattern, re.IGNORECASE), name) for pattern, name in _WORDS]
SAYING = ("modelspec.architecture", "ss_base_model_version")
MAX_SAYING, MAX_NAME = 200, 300


def architecture_of(tensors: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
    """The name of a model's base architecture, "SDXL" for example; "" if nothing tells it.

    `tensors` are those of a header, by name, with whatever it says of each.
    """
    short = {name: said for name, said in tensors.items() if len(name) <= MAX_NAME}
    return _by_signs(short) or _by_widths(short) or _by_words(metadata)


def _by_signs(tensors: Mapping[str, Any]) -> str:
    found = {match.lastgroup for name in tensors if (match := _SIGN.search(name))}
    return next((name for number, (_, name) in enumerate(_SIGNS) if f"s{number}" in found), "")


def _by_widths(tensors: Mapping[str, Any]) -> str:
    for name, said in tensors.items():
        if _CAPTIONS.search(name):
            return "Z-Image" if _shape(said)[:1] == [_Z_IMAGE_WIDTH] else "Lumina 2"
        if _TO_TEXT.search(name) and (shape := _shape(said)) and shape[-1] in _UNETS:
            return _UNETS[shape[-1]]
    if any(_SDXL_TEXT.search(name) for name in tensors):
        return "SDXL"
    return _EMBEDDINGS.get((_shape(tensors.get("emb_params")) or [0])[-1], "")


def _by_words(metadata: Mapping[str, Any]) -> str:
    for key in SAYING:
        text = metadata.get(key)
        if isinstance(text, str):
            for word, name in _SAID:
                if word.search(text[:MAX_SAYING]):
                    return name
    return ""


def _shape(said: Any) -> list[int]:
    """The shape in a header's entry; [] for anything else."""
    shape = said.get("shape") if isinstance(said, dict) else None
    is_shape = isinstance(shape, list) and all(type(each) is int for each in shape)
    return shape if is_shape and shape is not None else []
