"""Heavy requests: large bodies and graphs are read and checked beside the event loop, one of each account at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

HEAVY_BYTES = 256 << 10  # about a hundredth of a second's work; what is smaller is done at once
PARALLEL = 2

T = TypeVar("T")


class HeavyRequests:
    """Threads for heavy work. An account has one of them at most; its other heavy requests wait."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(PARALLEL, thread_name_prefix="heavy-request")
        self._places: dict[str, asyncio.Lock] = {}
        self._present: dict[str, int] = {}

    async def run(self, owner: str, size: int, act: Callable[[], T]) -> T:
        """The result of an act on `size` bytes of an account's (or a token's) request. Raises what the act raises."""
        if size <= HEAVY_BYTES:
            return act()
        place = self._places.setdefault(owner, asyncio.Lock())
        self._present[owner] = self._present.get(owner, 0) + 1
        try:
            async with place:
                return await asyncio.get_running_loop().run_in_executor(self._threads, act)
        finally:
            self._present[owner] -= 1
            if not self._present[owner]:
                del self._places[owner], self._present[owner]


HEAVY = HeavyRequests()
"""One for the process, whose threads share an interpreter."""
