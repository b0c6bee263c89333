"""The catalog of a running ComfyUI: /object_info joined with the catalog of our extension."""

from __future__ import annotations

from typing import Any

import blake3
import msgspec

from comfyward.comfy.client import ComfyClient

INSPECTED = ("checkpoints", "diffusion_models", "unet_gguf")


async def read_catalog(client: ComfyClient) -> tuple[str, bytes]:
    """(blake3 digest, JSON) in the format of workflows/catalog.py. Raises ComfyUIError."""
    catalog: dict[str, Any] = await client.extension_catalog()
    catalog["nodes"] = await client.object_info()
    catalog["model_info"] = {
        folder: info
        for folder in INSPECTED
        if folder in catalog["models"] and (info := await client.model_info(folder))
    }
    body = msgspec.json.encode(catalog)  # keeps ComfyUI's order, which clients show
    return blake3.blake3(body).hexdigest(), body
