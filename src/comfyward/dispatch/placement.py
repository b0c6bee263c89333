"""Which run for which worker: pure, decided whenever a worker asks or a run arrives.

The order of runs is the queue's: priority, then turns that are fair between accounts, then age. A run goes to the
worker that needs to load the least: one that holds all its models first, then any idle one, then one that would stage
it ahead. When a worker that holds the models is busy, a cold one passes the run over, but only for a bounded time, so
that affinity never starves a run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class WaitingRun:
    """A queued run, as far as placement cares."""

    id: str
    pool: str
    environment: str
    queued_at: int
    models: frozenset[str]
    avoid_worker_id: str | None = None


@dataclass(frozen=True)
class Worker:
    """A worker that asks (or, among `others`, one that is known)."""

    id: str
    pool: str
    environment: str
    idle: bool
    warm: frozenset[str]

    def serves(self, run: WaitingRun) -> bool:
        return self.pool == run.pool and self.environment == run.environment

    def holds(self, run: WaitingRun) -> bool:
        return run.models <= self.warm


def match(
    asking: Sequence[Worker], queue: Sequence[WaitingRun], others: Iterable[Worker], now_ms: int, wait_ms: int
) -> list[tuple[Worker, WaitingRun]]:
    """Pairs of worker and run, at most one each. `queue` is in order; `wait_ms` bounds how long affinity may wait."""
    free = {worker.id: worker for worker in asking}
    known = [worker for worker in others if worker.id not in free]
    pairs: list[tuple[Worker, WaitingRun]] = []
    for run in queue:
        if not free:
            break
        worker = _best(run, free.values(), known, may_wait=now_ms - run.queued_at < wait_ms)
        if worker is not None:
            pairs.append((worker, run))
            del free[worker.id]
    return pairs


def _best(run: WaitingRun, free: Iterable[Worker], busy: Sequence[Worker], *, may_wait: bool) -> Worker | None:
    able = [worker for worker in free if worker.serves(run)]
    if not able:
        return None
    elsewhere = [worker for worker in able if worker.id != run.avoid_worker_id]
    if not elsewhere and may_wait and any(worker.serves(run) for worker in busy):
        return None  # it failed on this worker: another one gets the first chance
    best = min(elsewhere or able, key=lambda worker: _cost(worker, run))
    return None if may_wait and not best.holds(run) and _is_warm_elsewhere(run, busy) else best


def _cost(worker: Worker, run: WaitingRun) -> tuple[bool, bool, int, str]:
    """Smaller is better: holds all models, is idle, holds many of them."""
    return not worker.holds(run), not worker.idle, -len(run.models & worker.warm), worker.id


def _is_warm_elsewhere(run: WaitingRun, busy: Sequence[Worker]) -> bool:
    return any(worker.serves(run) and worker.holds(run) and worker.id != run.avoid_worker_id for worker in busy)
