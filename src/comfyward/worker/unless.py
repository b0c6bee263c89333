"""Waiting that ends early."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Signal(Protocol):
    """An asyncio.Event, or what waits like one."""

    async def wait(self) -> Any: ...


async def unless(wanted: Coroutine[Any, Any, T], *signals: Signal) -> T | None:
    """The result of `wanted`; None if one of the signals comes first, and `wanted` is then cancelled."""
    task = asyncio.create_task(wanted)
    waits = [asyncio.create_task(signal.wait()) for signal in signals]
    try:
        await asyncio.wait({task, *waits}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for each in (task, *waits):
            each.cancel()
        await asyncio.gather(task, *waits, return_exceptions=True)
