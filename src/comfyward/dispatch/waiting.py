"""Workers that wait for a run at this server, and the wake-ups of the assigner and the fleet."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from comfyward.dispatch.placement import Worker
from comfyward.runs.change import Change, RunEnded, RunMoved, RunQueued, RunRequeued
from comfyward.runs.run import Run
from comfyward.store.notices import Notices, Wake

HAND_OUT = "leases"
"""The name of the loop that assigns runs to them, in notices too."""
MOST_ALIKE = 200  # workers of one description in a round: as many as it reads runs of one environment


@dataclass(frozen=True)
class Waiting:
    """A waiting worker, the name of its device, and the future that gets its run.

    `holding` is the number of runs that it has: it asks for the next one while they execute or are collected.
    """

    worker: Worker
    device: str
    answer: asyncio.Future[Run | None]
    holding: int = 0

    @cached_property
    def alike(self) -> Worker:
        """Its description without its id."""
        return replace(self.worker, id="")

    def without_a_run(self) -> Waiting:
        """The same worker after the end of a run that it had: idle, if that was the last one."""
        left = self.holding - 1
        return replace(self, worker=replace(self.worker, idle=True) if left == 0 else self.worker, holding=left)

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
        self._alike: dict[Worker, dict[str, Waiting]] = {}  # by description, then by id
        self._has_news = False

    def __len__(self) -> int:
        return len(self._by_id)

    @property
    def pools(self) -> set[str]:
        return {alike.pool for alike in self._alike}

    @property
    def asking(self) -> list[tuple[Worker, str]]:
        """The waiting workers, each with the name of its device; of many that are alike, those that wait longest.

        The others could take only what is left after these, and then there is another round.
        """
        found = (itertools.islice(alike.values(), MOST_ALIKE) for alike in self._alike.values())
        return [(waiting.worker, waiting.device) for waiting in itertools.chain.from_iterable(found)]

    async def run_for(self, worker: Worker, device: str, wait_s: float, holding: int = 0) -> Run | None:
        """Waits for a run. Returns None after `wait_s` seconds, or when the worker, which holds some, asks again."""
        waiting = Waiting(worker, device, asyncio.get_running_loop().create_future(), holding)
        if before := self._remove(worker.id):
            before.give(None)
        self._add(waiting)
        self.hint.set()
        try:
            async with asyncio.timeout(wait_s):
                return await waiting.answer
        except TimeoutError:
            return None
        finally:
            known = self._by_id.get(worker.id)
            if known is not None and known.answer is waiting.answer:
                self._remove(worker.id)

    def give(self, worker_id: str, run: Run) -> bool:
        """Gives a worker its run; False if it no longer waits."""
        waiting = self._remove(worker_id)
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
                case RunEnded(run) if run.worker_id in self._by_id:
                    self._on_ended(run.worker_id)

    def matched(self, *, is_any_left: bool) -> None:
        """Called after a round. Wakes the other servers if new runs of this server are left.

        Only then: two servers that try to assign the same run at once slow each other down.
        """
        if self._has_news and is_any_left:
            self._notices.send(Wake(HAND_OUT))
        self._has_news = False

    def _on_queued(self, pool: str) -> None:
        self._has_news = True
        if pool not in self.pools:
            self.matched(is_any_left=True)
        self.hint.set()
        if not self._by_id:
            self._fleet.set()

    def _on_ended(self, worker_id: str) -> None:
        """A worker's description is of the time at which it asked; by now it may be idle."""
        if self._by_id[worker_id].holding and (waiting := self._remove(worker_id)):
            self._add(waiting.without_a_run())

    def _add(self, waiting: Waiting) -> None:
        worker_id = waiting.worker.id
        self._by_id[worker_id] = self._alike.setdefault(waiting.alike, {})[worker_id] = waiting

    def _remove(self, worker_id: str) -> Waiting | None:
        waiting = self._by_id.pop(worker_id, None)
        if waiting is not None:
            alike = self._alike[waiting.alike]
            del alike[worker_id]
            if not alike:
                del self._alike[waiting.alike]
        return waiting
