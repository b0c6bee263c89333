"""The memory of a worker's host and device, from its ComfyUI."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp

from comfyward.comfy.client import ComfyClient
from comfyward.errors import ComfywardError
from comfyward.worker.protocol import Memory

ANSWER_S = 2.0
MAX_BYTES = 2**53
MAX_TEXT = 200


async def memory_of(client: ComfyClient) -> Memory | None:
    """None while ComfyUI does not answer: it starts, or is busy."""
    try:
        async with asyncio.timeout(ANSWER_S):
            stats = await client.system_stats()
    except (ComfywardError, aiohttp.ClientError, TimeoutError, OSError):
        return None
    return parse_memory(stats)


def available_bytes() -> int:
    """The memory of this host that a new process can have; 0 if unknown."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                return int(value.split()[0]) << 10
    return 0


def parse_memory(stats: Mapping[str, Any]) -> Memory | None:
    """The memory in an answer of /system_stats; its first device is the one in use."""
    match stats:
        case {"system": dict(system), "devices": [dict(device), *_]} if system:
            pass
        case _:
            return None
    amounts = {name: _bytes(system, name) for name in ("ram_total", "ram_free")}
    amounts |= {
        name: _bytes(device, name) for name in ("vram_total", "vram_free", "torch_vram_total", "torch_vram_free")
    }
    return Memory(
        **amounts,
        device_type=str(device.get("type") or "")[:MAX_TEXT],
        pytorch_version=str(system.get("pytorch_version") or "")[:MAX_TEXT],
    )


def _bytes(of: Mapping[str, Any], name: str) -> int:
    value = of.get(name)
    return int(min(value, MAX_BYTES)) if isinstance(value, int | float) and value > 0 else 0
