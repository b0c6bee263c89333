"""What workers should exist (pure), the protocol of whoever makes them exist, and the loop between the two."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from comfyward.errors import ComfywardError
from comfyward.loop import Loop
from comfyward.store import queue, workers
from comfyward.store.db import Database

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Slot:
    """A place where one worker can run: a device of this machine, or of a node."""

    worker_id: str
    pool: str


@dataclass(frozen=True)
class WorkerState:
    """A worker process as the fleet sees it. *Ready* is never the fleet's word: a ready worker asks for a lease."""

    worker_id: str
    pool: str
    running: bool
    busy: bool
    idle_s: float


@dataclass(frozen=True)
class Limits:
    min_workers: int
    idle_timeout_s: float


class Fleet(Protocol):
    """Places worker processes. Every call may be repeated."""

    def slots(self) -> Sequence[Slot]:
        """Where workers can be."""
        ...

    async def ensure(self, worker_id: str) -> None:
        """Starts a worker if it is not running; returns before it is ready."""
        ...

    async def stop(self, worker_id: str, grace_s: float) -> None:
        """Stops a worker: drained first, killed after the grace."""
        ...

    def list(self) -> Sequence[WorkerState]:
        """What is there."""
        ...

    async def close(self, grace_s: float) -> None:
        """Stops every worker."""
        ...


@dataclass(frozen=True)
class Plan:
    start: tuple[str, ...]
    stop: tuple[str, ...]


def plan(
    slots: Sequence[Slot],
    workers: Sequence[WorkerState],
    queued: Mapping[str, int],
    limits: Limits,
    paused: Collection[str] = (),
) -> Plan:
    """What to start and stop: one worker for each queued run and one for each busy one, never below the minimum.

    A worker with nothing to do is stopped once it has been idle for the timeout, down to the minimum. Those that an
    operator has paused are stopped and not started.
    """
    start: list[str] = []
    stop = [worker.worker_id for worker in workers if worker.running and not worker.busy and worker.worker_id in paused]
    slots = [slot for slot in slots if slot.worker_id not in paused]
    for pool in sorted({slot.pool for slot in slots}):
        running = [w for w in workers if w.pool == pool and w.running and w.worker_id not in paused]
        free = [slot.worker_id for slot in slots if slot.pool == pool and slot.worker_id not in _ids(running)]
        busy = sum(worker.busy for worker in running)
        wanted = max(limits.min_workers, busy + queued.get(pool, 0))
        start += free[: max(0, wanted - len(running))]
        idle = sorted((worker for worker in running if not worker.busy), key=lambda worker: -worker.idle_s)
        surplus = max(0, len(running) - wanted)
        stop += [worker.worker_id for worker in idle[:surplus] if worker.idle_s >= limits.idle_timeout_s]
    return Plan(tuple(start), tuple(stop))


class Reconcile(Loop):
    """Makes what exists what should exist."""

    name = "fleet"
    interval_s = 1.0

    def __init__(self, db: Database, fleet: Fleet, limits: Limits, stop_grace_s: float) -> None:
        super().__init__()
        self._db, self._fleet, self._limits, self._stop_grace_s = db, fleet, limits, stop_grace_s

    async def tick(self) -> dict[str, int]:
        queued = await self._db.read(queue.lengths)
        paused = {worker.id for worker in await self._db.read(workers.paused)}
        wanted = plan(self._fleet.slots(), self._fleet.list(), queued, self._limits, paused)
        for worker_id in wanted.start:
            await self._try(worker_id)
        for worker_id in wanted.stop:
            log.info("worker %s is not needed; stopping it", worker_id, extra={"action": "worker_idle_stop"})
            await self._fleet.stop(worker_id, self._stop_grace_s)
        return {"started": len(wanted.start), "stopped": len(wanted.stop)}

    async def _try(self, worker_id: str) -> None:
        try:
            await self._fleet.ensure(worker_id)
        except (ComfywardError, OSError) as error:
            log.error("worker %s cannot be started: %s", worker_id, error, extra={"action": "worker_start_failed"})


def _ids(workers: Sequence[WorkerState]) -> set[str]:
    return {worker.worker_id for worker in workers}
