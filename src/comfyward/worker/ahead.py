"""Places for the runs that a worker stages ahead of the one that executes.

One run is staged ahead, never more, unless its files are slow: then another is staged beside it, and the first whose
files are complete executes first. So a slow file delays no other run, and a worker does not hoard what others could
execute. A run whose files take longer than SLOW_S, for instance because their host asks for a pause, steps aside: its
place is free for the next while its files are still being fetched. At most MAX_ASIDE runs are aside at a time.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

MAX_AHEAD = 3
MAX_ASIDE = 5
PATIENCE_S = 0.5
SLOW_S = 10.0


@dataclass(frozen=True)
class Patience:
    """Seconds until another run is staged beside one whose files are being fetched, and until those files are slow."""

    beside_s: float = PATIENCE_S
    slow_s: float = SLOW_S


class _Aside:
    """The room for runs that stepped aside. Nobody waits for it."""

    def __init__(self) -> None:
        self._left = MAX_ASIDE

    def take(self) -> bool:
        """False if there is none left."""
        if self._left:
            self._left -= 1
            return True
        return False

    def release(self) -> None:
        self._left += 1


class Ahead:
    """The places of one worker."""

    def __init__(self, patience: Patience = Patience()) -> None:
        self._places, self._turn = asyncio.Semaphore(MAX_AHEAD), asyncio.Semaphore(1)
        self._aside, self._patience = _Aside(), patience
        self.fetched = asyncio.Event()
        """Set when the files of a run are complete beside which another could be asked for."""

    async def take(self) -> Place:
        """A place, once there is a free one and every run ahead is slow."""
        await self._places.acquire()
        try:
            await self._turn.acquire()
        except asyncio.CancelledError:
            self._places.release()
            raise
        return Place(self._places, self._aside, self._turn, self._patience, self.fetched)


class Place:
    """A run's place ahead, until it executes or ends."""

    def __init__(
        self,
        places: asyncio.Semaphore,
        aside: _Aside,
        turn: asyncio.Semaphore,
        patience: Patience,
        fetched: asyncio.Event,
    ) -> None:
        self._held: asyncio.Semaphore | _Aside = places
        self._aside, self._turn, self._patience, self._fetched = aside, turn, patience, fetched
        self._has_turn = self._is_taken = True
        self._timers: list[asyncio.TimerHandle] = []
        self.is_fetching = False

    def fetching(self) -> None:
        """The run's files are fetched from now on. If they are slow, other runs may be staged."""
        self.is_fetching = True
        later = asyncio.get_running_loop().call_later
        self._timers = [
            later(self._patience.beside_s, self._release_turn),
            later(self._patience.slow_s, self._step_aside),
        ]

    def ready(self) -> None:
        """The run's files are complete."""
        if self.is_fetching and not self._has_turn:
            self._fetched.set()
        self.is_fetching = False
        for timer in self._timers:
            timer.cancel()

    def leave(self) -> None:
        """Frees the place. May be called again."""
        self.ready()
        self._release_turn()
        if self._is_taken:
            self._is_taken = False
            self._held.release()

    def _step_aside(self) -> None:
        if self._aside.take():
            self._held.release()
            self._held = self._aside
        else:
            self._timers.append(asyncio.get_running_loop().call_later(self._patience.slow_s, self._step_aside))

    def _release_turn(self) -> None:
        if self._has_turn:
            self._has_turn = False
            self._turn.release()
