"""The catalog of a running ComfyUI: /object_info joined with what our extension knows of it."""

from __future__ import annotations

from typing import Any

import blake3
import msgspec

from comfyward.comfy.client import ComfyClient

INSPECTED = ("checkpoints", "diffusion_models", "unet_gguf")


async def read_catalog(client: ComfyClient) -> tuple[str, bytes]:
    """(digest, JSON) in the form of workflows/catalog.py."""
    catalog: dict[str, Any] = await client.extension_catalog()
    catalog["nodes"] = await client.object_info()
    catalog["model_info"] = {
        folder: about
        for folder in INSPECTED
        if folder in catalog["models"] and (about := await client.model_info(folder))
    }
    body = msgspec.json.encode(catalog)  # in ComfyUI's own order, which clients show
    return blake3.blake3(body).hexdigest(), body
