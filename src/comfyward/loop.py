"""The base of all background loops."""

from __future__ import annotations

import asyncio
import logging
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

IsLeader = Callable[[str], Awaitable[bool]]
"""True if this server is the one that may run the loop with a name."""


class Loop(ABC):
    """Calls `tick()` when it is woken, and at least every `interval_s` seconds (jittered by ±20 %).

    `start` and `stop` may be called twice, and `stop` before `start`. An error of a tick is logged and the loop
    continues, so that one bad row never stops the service.
    """

    name = "loop"
    interval_s = 5.0

    def __init__(self, hint: asyncio.Event | None = None, is_leader: IsLeader | None = None) -> None:
        """Setting `hint` wakes the loop, as `wake` does. `is_leader` is asked before each tick of a loop that only one
        of several servers may run."""
        self._hint = hint or asyncio.Event()
        self._is_leader = is_leader
        self._task: asyncio.Task[None] | None = None

    @abstractmethod
    async def tick(self) -> dict[str, int]:
        """Does the work that is due, and returns counts of it for the log."""

    def wake(self) -> None:
        """Requests a tick soon. Must be called on the event loop's thread."""
        self._hint.set()

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=self.name)

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            self._hint.clear()
            try:
                may_tick = self._is_leader is None or await self._is_leader(self.name)
                if may_tick and (counts := {what: count for what, count in (await self.tick()).items() if count}):
                    log.debug("%s: %s", self.name, counts, extra={"action": f"{self.name}_tick"})
            except Exception:
                log.exception("%s: a tick failed; retrying", self.name, extra={"action": f"{self.name}_failed"})
            await self._pause()

    async def _pause(self) -> None:
        pause_s = self.interval_s * random.uniform(0.8, 1.2)  # noqa: S311  jitter is no secret
        try:
            async with asyncio.timeout(pause_s):
                await self._hint.wait()
        except TimeoutError:
            return
