"""What workers should exist (pure), the protocol of whoever makes them exist, and the loop of a server's own fleet."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from comfyward.errors import ComfywardError
from comfyward.loop import Loop
from comfyward.store import queue, workers
from comfyward.store.db import Database

log = logging.getLogger(__name__)

Phase = Literal["pending", "unschedulable", "running", "stopping"]


@dataclass(frozen=True)
class WorkerState:
    """A worker as the fleet sees it. *Ready* is never the fleet's word: a ready worker asks for a lease.

    `pending` waits for a place, `unschedulable` for one that there is not; `problem` says why.
    """

    worker_id: str
    pool: str
    phase: Phase
    busy: bool = False
    idle_s: float = 0.0
    node: str | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Limits:
    """How many workers a pool has: `min` always, up to `max` for its work.

    `prewarm` more than its work needs are kept while it has work, so that the next run finds one ready. One that has
    had nothing to do for `idle_timeout_s` goes.
    """

    max: int
    min: int = 0
    idle_timeout_s: float = 300.0
    prewarm: int = 0

    def wanted(self, work: int) -> int:
        """How many workers a pool needs for so many runs (waiting or being worked on)."""
        return max(self.min, min(self.max, work + (self.prewarm if work else 0)))


class Fleet(Protocol):
    """Places worker processes. Every call may be repeated."""

    def limits(self) -> Mapping[str, Limits]:
        """The pools that it can have workers in."""
        ...

    async def list(self) -> Sequence[WorkerState]:
        """What is there, also what this process did not start."""
        ...

    async def start(self, pool: str) -> None:
        """Starts one more worker; returns before it is ready."""
        ...

    async def stop(self, worker_id: str, grace_s: float) -> None:
        """Stops a worker: drained first, killed after the grace."""
        ...

    async def close(self, grace_s: float) -> None:
        """Ends the fleet's own part."""
        ...


class LocalPlaces(Fleet, Protocol):
    """A fleet whose workers have fixed places, of which an operator can close some."""

    def pause(self, worker_ids: Collection[str]) -> None:
        """These are not started until they are left out again."""
        ...


class OwnFleet(Protocol):
    """A server's own workers, as its pages, forecasts and health checks ask for them."""

    def slots(self) -> Mapping[str, int]:
        """The number of workers that each pool can have here."""
        ...

    def problem(self) -> str | None:
        """Why no worker is ready, as far as the fleet knows."""
        ...

    def changed(self) -> None:
        """An operator has paused or resumed workers: the fleet looks at once."""
        ...

    async def close(self, grace_s: float) -> None:
        """Stops the workers: drained first, killed after the grace."""
        ...


class NoFleet:
    """The fleet of a server that starts no workers of its own."""

    def slots(self) -> Mapping[str, int]:
        return {}

    def problem(self) -> str | None:
        return None

    def changed(self) -> None:
        return

    async def close(self, grace_s: float) -> None:
        return


@dataclass(frozen=True)
class Plan:
    """Pools in which to start a worker (as often as they stand here), and workers to stop."""

    start: tuple[str, ...]
    stop: tuple[str, ...]


def plan(
    limits: Mapping[str, Limits],
    states: Sequence[WorkerState],
    queued: Mapping[str, int],
    paused: Collection[str] = (),
) -> Plan:
    """What to start and stop: one worker for each queued run and one for each busy one, within the pool's limits.

    A worker with nothing to do is stopped once it has been idle for the timeout, down to what is wanted; one that still
    waits for a place goes at once. Those that an operator has paused are stopped and not counted.
    """
    start: list[str] = []
    stop = [state.worker_id for state in states if not state.busy and state.worker_id in paused]
    for pool, limit in sorted(limits.items()):
        present = [state for state in states if state.pool == pool and state.worker_id not in paused]
        present = [state for state in present if state.phase != "stopping"]
        wanted = limit.wanted(sum(state.busy for state in present) + queued.get(pool, 0))
        start += [pool] * max(0, wanted - len(present))
        stop += [state.worker_id for state in _dispensable(present, limit, len(present) - wanted)]
    stop += [state.worker_id for state in states if state.pool not in limits and not state.busy]
    return Plan(tuple(start), tuple(dict.fromkeys(stop)))


def _dispensable(present: Sequence[WorkerState], limit: Limits, surplus: int) -> Sequence[WorkerState]:
    if surplus <= 0:
        return []
    idle = sorted((state for state in present if not state.busy), key=_idle_s, reverse=True)
    return [state for state in idle[:surplus] if _idle_s(state) >= limit.idle_timeout_s]


def _idle_s(state: WorkerState) -> float:
    return math.inf if state.phase in ("pending", "unschedulable") else state.idle_s


class Reconcile(Loop):
    """Makes what exists what should exist, beside the database."""

    name = "fleet"
    interval_s = 1.0

    def __init__(self, db: Database, fleet: LocalPlaces, stop_grace_s: float, hint: asyncio.Event) -> None:
        super().__init__(hint)
        self._db, self._fleet, self._stop_grace_s = db, fleet, stop_grace_s

    async def tick(self) -> dict[str, int]:
        queued = await self._db.read(queue.lengths)
        paused = {worker.id for worker in await self._db.read(workers.paused)}
        self._fleet.pause(paused)
        return await converge(self._fleet, await self._fleet.list(), queued, paused, self._stop_grace_s)


async def converge(
    fleet: Fleet, states: Sequence[WorkerState], queued: Mapping[str, int], paused: Collection[str], grace_s: float
) -> dict[str, int]:
    """One step of a fleet from what is there towards what its queue needs."""
    wanted = plan(fleet.limits(), states, queued, paused)
    for pool in wanted.start:
        try:
            await fleet.start(pool)
        except (ComfywardError, OSError) as error:
            log.error("a worker of %s cannot be started: %s", pool, error, extra={"action": "worker_start_failed"})
    for worker_id in wanted.stop:
        log.info("worker %s is not needed; stopping it", worker_id, extra={"action": "worker_idle_stop"})
        await fleet.stop(worker_id, grace_s)
    return {"started": len(wanted.start), "stopped": len(wanted.stop)}
