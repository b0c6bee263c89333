"""Threads for files that runs leave: hashing and copying take a slice at a time.

However large the files of one run are, those of another wait for a slice of each at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

THREADS = 4


class FileThreads:
    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="collect")

    async def call(self, function: Callable[[*Ts], T], *arguments: *Ts) -> T:
        """The result of a function that takes a moment at most."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    async def take(self, steps: Generator[None, None, T]) -> T:
        """The result of a generator, each of whose steps takes a moment at most."""
        while (result := await self.call(_next, steps)) is None:
            pass
        return result[0]


def _next(steps: Generator[None, None, T]) -> tuple[T] | None:
    """The result after the last step, None after any other."""
    try:
        next(steps)
    except StopIteration as stop:
        return (stop.value,)
    return None
