"""Which run for which worker: pure, decided whenever a worker asks or a run arrives.

The order of runs is priority, which grows with age, then turns that are fair between accounts, then age; accounts that
have as many runs on their way as they may are passed over. A run goes to the worker that needs to load the least: one
that holds all its models first, then any idle one, then one that would stage it ahead. When a worker that holds the
models is busy, a cold one passes the run over, but only for a bounded time, so that affinity never starves a run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Rules:
    """How long affinity may hold a run up, and after how long of waiting a run's priority grows by one (0: never)."""

    affinity_wait_ms: int
    ageing_ms: int


@dataclass(frozen=True)
class WaitingRun:
    """A queued run, as far as placement cares."""

    id: str
    pool: str
    environment: str
    queued_at: int
    models: frozenset[str]
    avoid_worker_id: str | None = None
    account_id: str = ""
    priority: int = 0
    turn: int = 0


def in_order(runs: Iterable[WaitingRun], now_ms: int, ageing_ms: int) -> list[WaitingRun]:
    """Runs as they are to be served: for each `ageing_ms` of waiting a step of priority more, so that none starves."""

    def order(run: WaitingRun) -> tuple[int, int, int, str]:
        steps = (now_ms - run.queued_at) // ageing_ms if ageing_ms else 0
        return -(run.priority + steps), run.turn, run.queued_at, run.id

    return sorted(runs, key=order)


def within_limits(runs: Iterable[WaitingRun], left: Mapping[str, int]) -> list[WaitingRun]:
    """The runs, in their order, of which accounts with a limit may start no more than `left` says."""
    open_places, kept = dict(left), []
    for run in runs:
        if run.account_id in open_places:
            if open_places[run.account_id] <= 0:
                continue
            open_places[run.account_id] -= 1
        kept.append(run)
    return kept


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


@dataclass(frozen=True)
class Standing:
    """All that says when a queued run starts. Times in ms; `recent_ms` is how long the pool's last runs took each."""

    pool: str
    place: int
    workers: int
    busy: int
    limit: int | None
    recent_ms: Sequence[int]
    account_is_full: bool
    warm_workers: int
    has_models: bool
    waits_for_warm_ms: int
    pool_problem: str | None


@dataclass(frozen=True)
class Explanation:
    """Why a run waits, in words, and in how many ms it is expected to start (None: that cannot be told)."""

    waits_for: str
    reason: str
    expected_in_ms: int | None


def explain(standing: Standing) -> Explanation:
    """What a queued run waits for."""
    expected = _expected_ms(standing)
    if standing.account_is_full:
        return Explanation("account", "Your account has as many runs on their way as it may have at once.", None)
    if standing.workers == 0:
        if standing.pool_problem:
            return Explanation("pool", standing.pool_problem, None)
        if standing.limit == 0:
            return Explanation("pool", f"No worker of {standing.pool} is allowed to run now.", None)
        return Explanation("worker", f"A worker of {standing.pool} has to start first.", None)
    if standing.place == 1 and standing.has_models and standing.warm_workers and standing.waits_for_warm_ms > 0:
        reason = "A worker that has its models loaded is expected to be free within moments."
        return Explanation("warm_worker", reason, standing.waits_for_warm_ms)
    if standing.busy >= standing.workers:
        ahead = standing.place - 1
        who = "It is next" if ahead == 0 else f"{ahead} {'run is' if ahead == 1 else 'runs are'} before it"
        return Explanation("queue", f"{who}, and all {standing.workers} workers of {standing.pool} are busy.", expected)
    return Explanation("hand_out", "It is about to be handed out.", 0)


def _expected_ms(standing: Standing) -> int | None:
    """As many rounds of the pool's usual run as it takes until it is this one's turn."""
    if not standing.recent_ms or not standing.workers:
        return None
    usual = sorted(standing.recent_ms)[len(standing.recent_ms) // 2]
    return round(usual * standing.place / standing.workers)
