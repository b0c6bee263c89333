"""Workers that wait for a run at this server, and the wake-ups of the assigner and the fleet."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from comfyward.dispatch.placement import Worker
from comfyward.runs.change import Change, RunMoved, RunQueued, RunRequeued
from comfyward.runs.run import Run
from comfyward.store.notices import Notices, Wake

HAND_OUT = "leases"
"""The name of the loop that assigns runs to them, in notices too."""


@dataclass(frozen=True)
class Waiting:
    """A waiting worker, the name of its device, and the future that gets its run."""

    worker: Worker
    device: str
    answer: asyncio.Future[Run | None]

    def give(self, run: Run | None) -> bool:
        """Answers the worker; False if it no longer waits."""
        if self.answer.done():
            return False
        self.answer.set_result(run)
        return True


class WaitingWorkers:
    """`hint` wakes the assigner; `fleet` wakes the loop that starts workers, set when no worker waits here."""

    def __init__(self, notices: Notices, fleet: asyncio.Event) -> None:
        self.hint = asyncio.Event()
        self._notices, self._fleet = notices, fleet
        self._by_id: dict[str, Waiting] = {}
        self._has_news = False

    def __len__(self) -> int:
        return len(self._by_id)

    @property
    def pools(self) -> set[str]:
        return {waiting.worker.pool for waiting in self._by_id.values()}

    @property
    def asking(self) -> list[tuple[Worker, str]]:
        """The waiting workers, each with the name of its device."""
        return [(waiting.worker, waiting.device) for waiting in self._by_id.values()]

    async def run_for(self, worker: Worker, device: str, wait_s: float) -> Run | None:
        """Waits for a run. Returns None after `wait_s` seconds, or when the worker asks again."""
        waiting = Waiting(worker, device, asyncio.get_running_loop().create_future())
        if before := self._by_id.get(worker.id):
            before.give(None)
        self._by_id[worker.id] = waiting
        self.hint.set()
        try:
            async with asyncio.timeout(wait_s):
                return await waiting.answer
        except TimeoutError:
            return None
        finally:
            if self._by_id.get(worker.id) is waiting:
                del self._by_id[worker.id]

    def give(self, worker_id: str, run: Run) -> bool:
        """Gives a worker its run; False if it no longer waits."""
        waiting = self._by_id.pop(worker_id, None)
        return waiting is not None and waiting.give(run)

    def dismiss(self) -> None:
        """Answers all waiting workers that there is no run."""
        for waiting in self._by_id.values():
            waiting.give(None)

    def on_changes(self, changes: Sequence[Change]) -> None:
        for change in changes:
            match change:
                case RunQueued(pool) | RunMoved(pool):
                    self._on_queued(pool)
                case RunRequeued(run):
                    self._on_queued(run.pool)

    def matched(self, *, is_any_left: bool) -> None:
        """Called after a round. Wakes the other servers if new runs of this server are left.

        Only then: two servers that try to assign the same run at once slow each other down.
        """
        if self._has_news and is_any_left:
            self._notices.send(Wake(HAND_OUT))
        self._has_news = False

    def _on_queued(self, pool: str) -> None:
        self._has_news = True
        if all(waiting.worker.pool != pool for waiting in self._by_id.values()):
            self.matched(is_any_left=True)
        self.hint.set()
        if not self._by_id:
            self._fleet.set()
