"""The desired workers (a pure function), the protocol of a fleet that runs them, and the server's reconcile loop."""

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
    """A worker as its fleet knows it. A fleet never reports workers as ready: a ready worker asks for a lease itself.

    A `pending` worker waits for a place, an `unschedulable` one for a place that does not exist; `problem` says why.
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
    """The number of workers in a pool: `min` always, up to `max` as its runs need them.

    While a pool has runs, it has `prewarm` workers more than they need, so that the next run finds one ready. A surplus
    worker that has been idle for `idle_timeout_s` is stopped.
    """

    max: int
    min: int = 0
    idle_timeout_s: float = 300.0
    prewarm: int = 0

    def desired(self, runs: int) -> int:
        """The number of workers that a pool needs for this number of runs (queued or assigned)."""
        return max(self.min, min(self.max, runs + (self.prewarm if runs else 0)))


class Fleet(Protocol):
    """Starts and stops worker processes. Every call may be repeated."""

    def limits(self) -> Mapping[str, Limits]:
        """The limits of each pool that it can run workers in."""
        ...

    async def list(self) -> Sequence[WorkerState]:
        """All workers, including those that another process of the fleet started."""
        ...

    async def start(self, pool: str) -> None:
        """Starts one more worker, and returns before it is ready."""
        ...

    async def stop(self, worker_id: str, grace_s: float) -> None:
        """Drains a worker, and kills it after the grace period."""
        ...

    async def close(self, grace_s: float) -> None:
        """Ends the fleet in this process."""
        ...


class PausableFleet(Fleet, Protocol):
    """A fleet with a fixed set of workers, some of which an operator may have paused."""

    def pause(self, worker_ids: Collection[str]) -> None:
        """Replaces the set of paused workers, which are not started."""
        ...


class OwnFleet(Protocol):
    """The fleet of a server's own workers, for its pages, forecasts and health checks."""

    def slots(self) -> Mapping[str, int]:
        """The number of workers that each pool can have on this machine."""
        ...

    def problem(self) -> str | None:
        """The reason why no worker is ready, as far as the fleet knows."""
        ...

    def changed(self) -> None:
        """Reconciles the fleet soon, because an operator has paused or resumed workers."""
        ...

    async def close(self, grace_s: float) -> None:
        """Drains the workers, and kills them after the grace period."""
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
    """Pools in which to start a worker, listed once for each worker, and ids of workers to stop."""

    start: tuple[str, ...]
    stop: tuple[str, ...]


def plan(
    limits: Mapping[str, Limits],
    states: Sequence[WorkerState],
    queued: Mapping[str, int],
    paused: Collection[str] = (),
) -> Plan:
    """The workers to start and stop, so that each queued run and each busy worker has one, within the pool's limits.

    Surplus workers are stopped once they have been idle for the timeout, those without a place immediately. Paused
    workers are stopped and not counted.
    """
    start: list[str] = []
    stop = [state for state in states if not state.busy and state.worker_id in paused]
    counted = [state for state in states if state.worker_id not in paused and state.phase != "stopping"]
    for pool, limit in sorted(limits.items()):
        present = [state for state in counted if state.pool == pool]
        desired = limit.desired(sum(state.busy for state in present) + queued.get(pool, 0))
        start += [pool] * max(0, desired - len(present))
        stop += _stoppable(present, limit, len(present) - desired)
    stop += [state for state in states if not state.busy and state.pool not in limits]
    return Plan(tuple(start), tuple(dict.fromkeys(state.worker_id for state in stop)))


def _stoppable(present: Sequence[WorkerState], limit: Limits, surplus: int) -> Sequence[WorkerState]:
    if surplus <= 0:
        return []
    idle = sorted((state for state in present if not state.busy), key=_idle_s, reverse=True)
    return [state for state in idle[:surplus] if _idle_s(state) >= limit.idle_timeout_s]


def _idle_s(state: WorkerState) -> float:
    return math.inf if state.phase in ("pending", "unschedulable") else state.idle_s


class Reconcile(Loop):
    """Makes the workers of a server's own fleet match its queue."""

    name = "fleet"
    interval_s = 1.0

    def __init__(self, db: Database, fleet: PausableFleet, stop_grace_s: float, hint: asyncio.Event) -> None:
        super().__init__(hint)
        self._db, self._fleet, self._stop_grace_s = db, fleet, stop_grace_s

    async def tick(self) -> dict[str, int]:
        queued = await self._db.read(queue.lengths)
        paused = {worker.id for worker in await self._db.read(workers.paused)}
        self._fleet.pause(paused)
        return await reconcile(self._fleet, await self._fleet.list(), queued, paused, self._stop_grace_s)


async def reconcile(
    fleet: Fleet, states: Sequence[WorkerState], queued: Mapping[str, int], paused: Collection[str], grace_s: float
) -> dict[str, int]:
    """Starts and stops workers as `plan` says. Returns counts of both."""
    changes = plan(fleet.limits(), states, queued, paused)
    for pool in changes.start:
        try:
            await fleet.start(pool)
        except (ComfywardError, OSError) as error:
            log.error("a worker of %s cannot be started: %s", pool, error, extra={"action": "worker_start_failed"})
    for worker_id in changes.stop:
        log.info("worker %s is not needed; stopping it", worker_id, extra={"action": "worker_idle_stop"})
        await fleet.stop(worker_id, grace_s)
    return {"started": len(changes.start), "stopped": len(changes.stop)}
