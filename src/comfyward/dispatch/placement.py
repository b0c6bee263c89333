"""Placement: the choice of a run for each waiting worker. Pure; decided when a worker asks or a run arrives.

Runs are ordered by priority, which grows with age, then by turns that are fair between accounts, then by age. Runs of
an account or key at its limit are left out. A run goes only to workers that have its environment ready. A worker is
warm for a run if its ComfyUI is of the run's environment, belongs to the run's account, and holds the run's models;
anything else costs a start of ComfyUI, a load of models, or both. A worker takes the first run of the highest priority
for which it is warm; the other runs go to the idle worker that costs the least: one that runs the environment if there
is one, and among equals one whose host has the models in memory, or has the files. A run may be overtaken by runs with
warm workers, or wait for a warm worker beside an idle one, but only for a bounded time: so a worker also changes to
another environment in time.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from types import MappingProxyType

from comfyward.runs.waiting_run import WaitingRun

# A run for which some worker is warm will be that worker's next, so it may be overtaken this many times longer.
HELD_FACTOR = 4
NOBODY = ""  # in place of an account, whose ComfyUI a worker has: one that has nobody's can serve any account as it is


@dataclass(frozen=True)
class Rules:
    """Bounds of placement, in milliseconds; `isolated` gives each account a ComfyUI of its own.

    affinity_wait_ms   a run waits this long for a busy worker that is warm for it while others are idle
    pass_ms            runs with warm workers may overtake one for which no worker is warm for this long
    ageing_ms          a waiting run's priority grows by one in this time; 0: never
    """

    affinity_wait_ms: int
    ageing_ms: int = 0
    pass_ms: int = 0
    isolated: bool = False


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
    """Workers that no run can tell apart. `account` is the one whose ComfyUI they have.

    `environment` is that of the ComfyUI; the workers can change to `others`.
    """

    pool: str
    environment: str
    account: str
    idle: bool
    warm: frozenset[str]
    others: frozenset[str]

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        """Computed once: each round looks ten thousand workers up by their kinds."""
        return hash((self.pool, self.environment, self.account, self.idle, self.warm, self.others))

    def serves(self, run: WaitingRun) -> bool:
        return self.pool == run.pool and (self.environment == run.environment or run.environment in self.others)

    def holds(self, run: WaitingRun) -> bool:
        """True if a run of this environment and account has all its models here."""
        return run.models <= self.warm

    def is_warm_for(self, run: WaitingRun) -> bool:
        """True if a run of this environment and account would cost more on a worker that has just started."""
        return self.holds(run) and bool(run.models or self.account or self.others)


# Workers of one kind share the object: they are found by it without being compared.
_kind = lru_cache(maxsize=1 << 15)(Kind)


@dataclass(frozen=True)
class Worker:
    """A worker that waits for a run or, in `others`, any known worker.

    `environment` is that of its ComfyUI; `ready` are all that it could start.
    """

    id: str
    pool: str
    environment: str
    idle: bool
    warm: frozenset[str]
    cached: frozenset[str] = frozenset()  # files recently on its host
    account: str = NOBODY  # whose ComfyUI it has
    full: frozenset[str] = frozenset()  # accounts for which it fetches enough files already
    ready: frozenset[str] = frozenset()
    in_memory: frozenset[str] = frozenset()  # models that its host keeps there: as a run's models or its files

    @cached_property
    def kind(self) -> Kind:
        others = self.ready - {self.environment}
        return _kind(self.pool, self.environment, self.account, self.idle, self.warm, others)

    def serves(self, run: WaitingRun) -> bool:
        return self.kind.serves(run)

    def takes(self, run: WaitingRun) -> bool:
        """False for a run that it should not get although it serves it."""
        return self.id != run.avoid_worker_id and run.account_id not in self.full and run.kept_for in (None, self.id)


@dataclass(frozen=True)
class SkippedSince:
    """Times (ms) since which a run has been skipped: at all, and while no worker was warm for it (None: one is)."""

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
    others: Collection[Worker],
    now_ms: int,
    rules: Rules,
    skipped: Mapping[str, SkippedSince] = MappingProxyType({}),
) -> Match:
    """Matches workers with runs. `queue` is in order; `others` are the known workers that do not ask.

    Within one priority, runs that have been skipped for too long come first, those with a warm worker before those
    without: so an account's late runs follow each other, at the cost of one start. Then each worker takes the first run
    for which it is warm; then the rest are assigned in order.
    """
    round_ = _Round(asking, queue, others, now_ms, rules)
    for _, group in itertools.groupby(queue, lambda run: run.priority):
        equals = list(group)
        for run in round_.unless_over(run for run in equals if round_.is_late(skipped.get(run.id))):
            round_.give_to_warm(run)
        for run in round_.unless_over([run for run in equals if round_.is_due(run, skipped.get(run.id))]):
            round_.give(run, may_wait=False)
        for run in round_.unless_over(equals):
            round_.give_to_warm(run)
        for run in round_.unless_over(equals):
            round_.give(run, may_wait=run.kept_for is None and now_ms - run.queued_at < rules.affinity_wait_ms)
    return Match(round_.pairs, round_.skipped(queue, skipped))


class _Crew:
    """Workers by kind. A run looks only at kinds that it can tell apart, however many accounts have workers."""

    def __init__(self, workers: Iterable[Worker]) -> None:
        by_kind: _ByKind = {}
        for worker in workers:
            by_kind.setdefault(worker.kind, {})[worker.id] = worker
        self._of_account: dict[tuple[str, str, str], _ByKind] = {}
        self._running: dict[tuple[str, str, bool], _ByKind] = {}
        self._changing: dict[tuple[str, str, bool], _ByKind] = {}  # by each environment to which they can change
        for kind, alike in by_kind.items():
            self._of_account.setdefault((kind.pool, kind.environment, kind.account), {})[kind] = alike
            self._running.setdefault((kind.pool, kind.environment, kind.idle), {})[kind] = alike
            for other in kind.others:
                self._changing.setdefault((kind.pool, other, kind.idle), {})[kind] = alike

    def near(self, run: WaitingRun) -> list[tuple[Kind, Mapping[str, Worker]]]:
        """The kinds on which a run needs no other ComfyUI to end, those of its account first."""
        accounts = dict.fromkeys((run.account_id, NOBODY))
        kinds = (self._of_account.get((run.pool, run.environment, account), {}) for account in accounts)
        return [each for of_account in kinds for each in of_account.items()]

    def able(self, run: WaitingRun, *, idle: bool) -> Iterator[Worker]:
        """The workers that serve a run: first those that run its environment."""
        return itertools.chain(self.running(run, idle=idle), self.changing(run, idle=idle))

    def running(self, run: WaitingRun, *, idle: bool) -> Iterator[Worker]:
        """The workers that run a run's environment, for whichever account."""
        return _workers_in(self._running, run, idle)

    def changing(self, run: WaitingRun, *, idle: bool) -> Iterator[Worker]:
        """The workers that would have to change to a run's environment."""
        return _workers_in(self._changing, run, idle)

    def remove(self, worker: Worker) -> None:
        kind = worker.kind
        of_account = self._of_account[kind.pool, kind.environment, kind.account]
        del of_account[kind][worker.id]
        if not of_account[kind]:
            del of_account[kind]
            del self._running[kind.pool, kind.environment, kind.idle][kind]
            for other in kind.others:
                del self._changing[kind.pool, other, kind.idle][kind]


_ByKind = dict[Kind, dict[str, Worker]]  # workers by id


def _workers_in(kinds: Mapping[tuple[str, str, bool], _ByKind], run: WaitingRun, idle: bool) -> Iterator[Worker]:
    by_kind = kinds.get((run.pool, run.environment, idle), {})
    return (worker for alike in by_kind.values() for worker in alike.values())


class _Round:
    def __init__(
        self,
        asking: Sequence[Worker],
        queue: Sequence[WaitingRun],
        others: Collection[Worker],
        now_ms: int,
        rules: Rules,
    ) -> None:
        self._asking, self._queue, self._others = asking, queue, others
        self._free = _Crew(asking)
        self._now_ms, self._rules = now_ms, rules
        self._in_memory = frozenset[str]().union(*(worker.in_memory for worker in asking))
        self._taken: set[str] = set()
        self._held: dict[tuple[str, str, str, frozenset[str]], bool] = {}
        self.pairs: list[tuple[Worker, WaitingRun]] = []

    @cached_property
    def _busy(self) -> _Crew:
        """The other workers near to a run of the queue: of ten thousand, a few, and often nobody asks for them."""
        ids = {worker.id for worker in self._asking}
        near = {(run.pool, run.environment, account) for run in self._queue for account in (run.account_id, NOBODY)}
        return _Crew(
            worker
            for worker in self._others
            if (worker.pool, worker.environment, worker.account) in near and worker.id not in ids
        )

    def unless_over(self, runs: Iterable[WaitingRun]) -> Iterator[WaitingRun]:
        """The runs, as long as there is a worker left for them."""
        return itertools.takewhile(lambda run: len(self._taken) < len(self._asking), runs)

    def is_late(self, skipped: SkippedSince | None) -> bool:
        """True if a run has been skipped for as long as one without a warm worker may be."""
        return skipped is not None and self._now_ms - skipped.since >= self._rules.pass_ms

    def is_due(self, run: WaitingRun, skipped: SkippedSince | None) -> bool:
        """True if a run has been skipped for as long as it may be."""
        if skipped is None:
            return False
        if skipped.unheld_since is not None and not self.is_held(run):
            return self._now_ms - skipped.unheld_since >= self._rules.pass_ms
        return self._now_ms - skipped.since >= self._rules.pass_ms * HELD_FACTOR

    def give_to_warm(self, run: WaitingRun) -> None:
        """Gives a run to a free worker that is warm for it, but to one that still executes only if no other is idle."""
        if run.id in self._taken:
            return
        for idle in (True, False):
            for kind, workers in self._free.near(run):
                if kind.idle is idle and kind.is_warm_for(run) and (worker := self._best(workers.values(), run)):
                    return self._take(worker, run)
            if _is_any(self._free.able(run, idle=True), run):
                return

    def give(self, run: WaitingRun, *, may_wait: bool) -> None:
        """Gives a run to the free worker that costs the least, an idle one if there is one.

        It may wait for a busy worker that is warm for it.
        """
        if run.id in self._taken:
            return
        for idle in (True, False):
            near = [each for each in self._free.near(run) if each[0].idle is idle]
            holders = (self._best(workers.values(), run) for kind, workers in near if kind.holds(run))
            if worker := next(filter(None, holders), None):
                return self._take(worker, run)
            if may_wait and _is_any(self._free.able(run, idle=idle), run) and self._is_warm_elsewhere(run):
                return
            near.sort(key=lambda each: -len(run.models & each[0].warm))
            cold = [self._best(workers.values(), run) for _, workers in near]
            rest = (self._best(which(run, idle=idle), run) for which in (self._free.running, self._free.changing))
            if worker := next(filter(None, itertools.chain(cold, rest)), None):
                return self._take(worker, run)
        if run.avoid_worker_id is not None and run.kept_for is None:
            self._give_to_avoided(run, may_wait=may_wait)

    def is_held(self, run: WaitingRun) -> bool:
        """True if any worker needs neither another ComfyUI nor other models for a run."""
        key = (run.pool, run.environment, run.account_id, run.models)
        if key not in self._held:
            kinds = (kind for crew in (self._free, self._busy) for kind, _ in crew.near(run))
            self._held[key] = any(kind.holds(run) for kind in kinds)
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

    def _give_to_avoided(self, run: WaitingRun, *, may_wait: bool) -> None:
        """Gives a run to the worker on which it failed before, if there is no other."""
        free = (worker for idle in (True, False) for worker in self._free.able(run, idle=idle))
        avoided = next((worker for worker in free if worker.id == run.avoid_worker_id), None)
        if avoided is not None and not (may_wait and self._is_served_by_others(run)):
            self._take(avoided, run)

    def _is_served_by_others(self, run: WaitingRun) -> bool:
        ids = {worker.id for worker in self._asking}
        return any(worker.serves(run) and worker.id not in ids for worker in self._others)

    def _is_warm_elsewhere(self, run: WaitingRun) -> bool:
        """True if a worker that executes now is warm for a run."""
        kinds = (*self._busy.near(run), *((kind, ids) for kind, ids in self._free.near(run) if not kind.idle))
        return any(kind.is_warm_for(run) and ids.keys() != {run.avoid_worker_id} for kind, ids in kinds)

    def _best(self, workers: Iterable[Worker], run: WaitingRun) -> Worker | None:
        """One of some workers that take a run, preferably one whose host has its models in memory, or its files."""
        able = (worker for worker in workers if worker.takes(run))
        kept = (run.models | run.files) & self._in_memory
        best, most = None, (-1, -1)
        for worker in able:
            has = len(kept & worker.in_memory), len(run.files & worker.cached)
            if has > most:
                best, most = worker, has
            if has == (len(kept), len(run.files)):  # none of the others can have more
                break
        return best

    def _take(self, worker: Worker, run: WaitingRun) -> None:
        self.pairs.append((worker, run))
        self._taken.add(run.id)
        self._free.remove(worker)


def _is_any(workers: Iterable[Worker], run: WaitingRun) -> bool:
    return any(worker.takes(run) for worker in workers)
