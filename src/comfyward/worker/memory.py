"""The memory of a worker's host and device, from its ComfyUI."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import aiohttp

from comfyward.errors import ComfywardError
from comfyward.worker.protocol import Memory
from comfyward.worker.warm import WarmComfyUI

ANSWER_S = 2.0


async def memory_of(comfyui: WarmComfyUI) -> Memory | None:
    """None while ComfyUI does not answer: it starts, or is busy."""
    try:
        async with asyncio.timeout(ANSWER_S):
            stats = await comfyui.client.system_stats()
    except (ComfywardError, aiohttp.ClientError, TimeoutError, OSError):
        return None
    return parse_memory(stats)


def parse_memory(stats: Mapping[str, Any]) -> Memory | None:
    """The memory in an answer of /system_stats; its first device is the one in use."""
    system, devices = stats.get("system") or {}, stats.get("devices") or []
    if not system or not devices:
        return None
    device = devices[0]
    amounts = {name: _bytes(system, name) for name in ("ram_total", "ram_free")}
    amounts |= {
        name: _bytes(device, name) for name in ("vram_total", "vram_free", "torch_vram_total", "torch_vram_free")
    }
    return Memory(
        **amounts,
        device_type=str(device.get("type") or ""),
        pytorch_version=str(system.get("pytorch_version") or ""),
    )


def _bytes(of: Mapping[str, Any], name: str) -> int:
    value = of.get(name)
    return int(value) if isinstance(value, int | float) and value > 0 else 0
