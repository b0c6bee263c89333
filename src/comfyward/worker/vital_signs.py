"""The vital signs of a worker, measured every few seconds: measuring a cache takes time."""

from __future__ import annotations

import asyncio
import contextlib
import time

from comfyward.errors import ComfyUICrashed
from comfyward.files.cache import HostCache
from comfyward.worker.generation import Generation
from comfyward.worker.memory import memory_of
from comfyward.worker.model_keeper import ModelKeeper
from comfyward.worker.protocol import Memory, Vitals
from comfyward.worker.warm import WarmComfyUI

EVERY_S = 10.0


class VitalSigns:
    def __init__(self, comfyui: WarmComfyUI, cache: HostCache, models: ModelKeeper) -> None:
        self._comfyui, self._cache, self._models = comfyui, cache, models
        self._read_at = float("-inf")
        self._memory: Memory | None = None

    async def read(self) -> Vitals | None:
        """None if they were read a moment ago."""
        if time.monotonic() - self._read_at < EVERY_S:
            return None
        self._read_at = time.monotonic()
        cache, comfyui = self._cache, self._comfyui.current
        memory, cached = await asyncio.to_thread(lambda: (comfyui.memory_bytes(), cache.size_bytes()))
        models = await asyncio.to_thread(self._models.report)
        self._memory = await _memory_of(comfyui) or self._memory
        return Vitals(
            warm=comfyui.models,
            memory_bytes=memory,
            cache_bytes=cached,
            cache_limit_bytes=cache.limit_bytes,
            cache_hits=cache.hits,
            cache_misses=cache.misses,
            memory=self._memory,
            limits=self._comfyui.limits,
            models=models,
            model_memory_bytes=self._models.limit_bytes,
        )


async def _memory_of(comfyui: Generation) -> Memory | None:
    with contextlib.suppress(ComfyUICrashed):
        return await memory_of(comfyui.client)
    return None
