"""The attempts that a worker has: by lease, and as tasks that a draining worker waits for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from typing import Any

from comfyward.worker.attempt import Attempt

log = logging.getLogger(__name__)


class Attempts:
    """`draining` is set once the worker takes no more runs."""

    def __init__(self) -> None:
        self.draining = asyncio.Event()
        self._by_lease: dict[str, Attempt] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def drain(self) -> None:
        """Takes no more runs, and finishes those in progress."""
        self.draining.set()

    def add(self, attempt: Attempt) -> None:
        self._by_lease[attempt.lease] = attempt

    def remove(self, attempt: Attempt) -> None:
        self._by_lease.pop(attempt.lease, None)

    @property
    def leases(self) -> list[str]:
        """The leases of all attempts, also lost ones that are still being ended."""
        return list(self._by_lease)

    @property
    def leases_to_renew(self) -> list[str]:
        return [lease for lease, attempt in self._by_lease.items() if not attempt.halt.is_lost]

    @property
    def fetching(self) -> list[str]:
        """The accounts of the attempts whose files are being fetched, one for each attempt."""
        return [attempt.assignment.account for attempt in self._by_lease.values() if attempt.place.is_fetching]

    def cancel(self, leases: Iterable[str]) -> None:
        for attempt in self._of(leases):
            attempt.halt.cancel()

    def lose(self, leases: Iterable[str]) -> None:
        for attempt in self._of(leases):
            log.warning("run %s: the lease is lost", attempt.assignment.run_id, extra={"action": "lease_lost"})
            attempt.halt.lose()

    def recall(self, leases: Iterable[str]) -> None:
        for attempt in self._of(leases):
            attempt.recalled.set()

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Starts a task that a draining worker waits for."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finish(self) -> None:
        """Waits until every task has ended, also those that are begun meanwhile."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _of(self, leases: Iterable[str]) -> list[Attempt]:
        return [self._by_lease[lease] for lease in leases if lease in self._by_lease]
