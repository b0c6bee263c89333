"""Placement: the choice of a run for each waiting worker. Pure; decided when a worker asks or a run arrives.

Runs are ordered by priority, which grows with age, then by turns that are fair between accounts, then by age. Runs of
an account or key at its limit are left out. A worker takes the first run of the highest priority whose models it holds;
the other runs go to the worker that has to load the least, and among equals to one whose host has the files. A run may
be overtaken by runs with warm models, or wait for a warm worker beside an idle one, but only for a bounded time.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType

from comfyward.runs.waiting_run import WaitingRun
from comfyward.wording import plural

# A run whose models some worker holds will be that worker's next, so it may be overtaken this many times longer.
HELD_FACTOR = 4


@dataclass(frozen=True)
class Rules:
    """Bounds of placement, in milliseconds.

    affinity_wait_ms   a run waits this long for a busy worker that holds its models while others are idle
    pass_ms            runs with loaded models may overtake one whose models no worker holds for this long
    ageing_ms          a waiting run's priority grows by one in this time; 0: never
    """

    affinity_wait_ms: int
    ageing_ms: int = 0
    pass_ms: int = 0


def in_order(runs: Iterable[WaitingRun], now_ms: int, ageing_ms: int) -> list[WaitingRun]:
    """The runs in the order in which to assign them. Priority grows by one for each `ageing_ms` of waiting."""
    if ageing_ms:
        steps = ((run, (now_ms - run.queued_at) // ageing_ms) for run in runs)
        runs = [replace(run, priority=run.priority + step) if step > 0 else run for run, step in steps]
    return sorted(runs, key=lambda run: (-run.priority, run.turn, run.queued_at, run.id))


def within_limits(runs: Iterable[WaitingRun], left: Mapping[str, int]) -> list[WaitingRun]:
    """The runs that may start without exceeding a limit, in order. `left` holds what is left of each limit."""
    places, kept = dict(left), []
    for run in runs:
        if all(places[limit] > 0 for limit in run.limits):
            for limit in run.limits:
                places[limit] -= 1
            kept.append(run)
    return kept


@dataclass(frozen=True)
class Kind:
    """Workers that no run can tell apart: of a thousand workers there are few kinds."""

    pool: str
    environment: str
    idle: bool
    warm: frozenset[str]

    def serves(self, run: WaitingRun) -> bool:
        return self.pool == run.pool and self.environment == run.environment

    def holds(self, run: WaitingRun) -> bool:
        return run.models <= self.warm

    def cost(self, run: WaitingRun) -> tuple[bool, bool, int]:
        """A sort key, smaller is better: holds all models, is idle, holds many of them."""
        return not self.holds(run), not self.idle, -len(run.models & self.warm)


@dataclass(frozen=True)
class Worker:
    """A worker that waits for a run or, in `others`, any known worker."""

    id: str
    pool: str
    environment: str
    idle: bool
    warm: frozenset[str]
    cached: frozenset[str] = frozenset()  # files recently on its host

    @cached_property
    def kind(self) -> Kind:
        return Kind(self.pool, self.environment, self.idle, self.warm)

    def serves(self, run: WaitingRun) -> bool:
        return self.kind.serves(run)

    def holds(self, run: WaitingRun) -> bool:
        return self.kind.holds(run)


@dataclass(frozen=True)
class SkippedSince:
    """Times (ms) since which a run has been skipped: at all, and while no worker held its models (None: one does)."""

    since: int
    unheld_since: int | None


@dataclass(frozen=True)
class Match:
    """Pairs of worker and run, each at most once, and the runs skipped in their favour."""

    pairs: list[tuple[Worker, WaitingRun]]
    skipped: dict[str, SkippedSince]


def match(
    asking: Sequence[Worker],
    queue: Sequence[WaitingRun],
    others: Iterable[Worker],
    now_ms: int,
    rules: Rules,
    skipped: Mapping[str, SkippedSince] = MappingProxyType({}),
) -> Match:
    """Matches workers with runs. `queue` is in order; `others` are the known workers that do not ask.

    Within one priority, runs that have been skipped for too long come first; then each worker takes the first run
    whose models it holds; then the rest are assigned in order.
    """
    round_ = _Round(asking, others, now_ms, rules)
    for _, group in itertools.groupby(queue, lambda run: run.priority):
        equals = list(group)
        for run in [run for run in equals if round_.is_due(run, skipped.get(run.id))]:
            round_.give(run, may_wait=False)
        for run in equals:
            round_.give_to_holder(run)
        for run in equals:
            round_.give(run, may_wait=now_ms - run.queued_at < rules.affinity_wait_ms)
    return Match(round_.pairs, round_.skipped(queue, skipped))


class _Round:
    def __init__(self, asking: Sequence[Worker], others: Iterable[Worker], now_ms: int, rules: Rules) -> None:
        self._free: dict[Kind, dict[str, Worker]] = {}
        for worker in asking:
            self._free.setdefault(worker.kind, {})[worker.id] = worker
        ids = {worker.id for worker in asking}
        self._busy: dict[Kind, set[str]] = {}
        for worker in others:
            if worker.id not in ids:
                self._busy.setdefault(worker.kind, set()).add(worker.id)
        self._every = [*self._free, *self._busy]
        self._now_ms, self._rules = now_ms, rules
        self._taken: set[str] = set()
        self._held: dict[tuple[str, str, frozenset[str]], bool] = {}
        self.pairs: list[tuple[Worker, WaitingRun]] = []

    def is_due(self, run: WaitingRun, skipped: SkippedSince | None) -> bool:
        """True if a run has been skipped for as long as it may be."""
        if skipped is None:
            return False
        if skipped.unheld_since is not None and not self.is_held(run):
            return self._now_ms - skipped.unheld_since >= self._rules.pass_ms
        return self._now_ms - skipped.since >= self._rules.pass_ms * HELD_FACTOR

    def give(self, run: WaitingRun, *, may_wait: bool) -> None:
        """Gives a run to the free worker that has to load the least, unless it waits for a busy one that is warm."""
        if run.id in self._taken or not self._free:
            return
        able = sorted((kind for kind in self._free if kind.serves(run)), key=lambda kind: kind.cost(run))
        worker = next((found for kind in able if (found := self._one(kind, run))), None)
        if worker is None and able and not (may_wait and any(kind.serves(run) for kind in self._busy)):
            worker = next(iter(self._free[able[0]].values()))  # the run failed on it before, but there is no other
        if worker is not None and not (may_wait and not worker.holds(run) and self._is_warm_elsewhere(run)):
            self._take(worker, run)

    def give_to_holder(self, run: WaitingRun) -> None:
        """Gives a run to a free worker that holds all its models, if there is one."""
        if run.id in self._taken or not run.models:
            return
        for kind in self._free:
            if kind.serves(run) and kind.holds(run) and (worker := self._one(kind, run)):
                return self._take(worker, run)

    def is_held(self, run: WaitingRun) -> bool:
        """True if any worker holds all models of a run."""
        key = (run.pool, run.environment, run.models)
        if key not in self._held:
            self._held[key] = any(kind.serves(run) and kind.holds(run) for kind in self._every)
        return self._held[key]

    def skipped(self, queue: Sequence[WaitingRun], before: Mapping[str, SkippedSince]) -> dict[str, SkippedSince]:
        """The runs left in the queue although a later one was taken."""
        last = max((place for place, run in enumerate(queue) if run.id in self._taken), default=-1)
        over: dict[str, SkippedSince] = {}
        for place, run in enumerate(queue):
            known = before.get(run.id)
            if run.id in self._taken or (place > last and known is None):
                continue
            since = known.since if known else self._now_ms
            unheld = known.unheld_since if known else None
            held = self.is_held(run)
            over[run.id] = SkippedSince(since, None if held else (self._now_ms if unheld is None else unheld))
        return over

    def _one(self, kind: Kind, run: WaitingRun) -> Worker | None:
        """A free worker of a kind, preferably one whose host has the run's files; never the one that it avoids."""
        able = (worker for worker in self._free[kind].values() if worker.id != run.avoid_worker_id)
        if not run.files:
            return next(able, None)
        return max(able, key=lambda worker: len(run.files & worker.cached), default=None)

    def _is_warm_elsewhere(self, run: WaitingRun) -> bool:
        return any(
            kind.serves(run) and kind.holds(run) and ids != {run.avoid_worker_id} for kind, ids in self._busy.items()
        )

    def _take(self, worker: Worker, run: WaitingRun) -> None:
        self.pairs.append((worker, run))
        self._taken.add(run.id)
        kind = worker.kind
        del self._free[kind][worker.id]
        if not self._free[kind]:
            del self._free[kind]


@dataclass(frozen=True)
class QueueStatus:
    """The facts that decide when a queued run starts; times in ms.

    `recent_ms` are the durations of the pool's last runs. `is_served`: a fleet starts workers of the pool, or one has
    joined before.
    """

    pool: str
    place: int
    workers: int
    busy: int
    is_served: bool
    limit: int | None
    recent_ms: Sequence[int]
    account_is_full: bool
    warm_workers: int
    has_models: bool
    waits_for_warm_ms: int
    pool_problem: str | None


@dataclass(frozen=True)
class Explanation:
    """The reason why a run waits, as a code and a sentence, and the expected time until it starts (None: unknown)."""

    waits_for: str
    reason: str
    expected_in_ms: int | None


def explain(status: QueueStatus) -> Explanation:
    """Explains why a queued run waits."""
    expected = _expected_ms(status)
    if status.account_is_full:
        return Explanation("account", "Your account or API key has reached its limit of concurrent runs.", None)
    if status.workers == 0:
        if status.pool_problem:
            return Explanation("pool", status.pool_problem, None)
        if status.limit == 0:
            return Explanation("pool", f"Pool {status.pool} is limited to 0 workers.", None)
        if not status.is_served:
            reason = f"No worker has ever joined pool {status.pool}, and no fleet is configured to start one."
            return Explanation("pool", reason, None)
        return Explanation("worker", f"A worker of pool {status.pool} has to start first.", None)
    if status.place == 1 and status.has_models and status.warm_workers and status.waits_for_warm_ms > 0:
        reason = "A worker with its models loaded is expected to be free soon."
        return Explanation("warm_worker", reason, status.waits_for_warm_ms)
    if status.busy >= status.workers:
        ahead = status.place - 1
        who = "It is next" if ahead == 0 else f"{plural(ahead, 'run is', 'runs are')} ahead of it"
        busy = "the only worker" if status.workers == 1 else f"all {status.workers} workers"
        verb = "is" if status.workers == 1 else "are"
        return Explanation("queue", f"{who}, and {busy} of pool {status.pool} {verb} busy.", expected)
    return Explanation("hand_out", "It is about to be assigned to a worker.", 0)


def _expected_ms(status: QueueStatus) -> int | None:
    """The median duration of the pool's recent runs, times the run's place divided by the number of workers."""
    if not status.recent_ms or not status.workers:
        return None
    usual = sorted(status.recent_ms)[len(status.recent_ms) // 2]
    return round(usual * status.place / status.workers)
