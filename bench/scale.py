"""Simulates placement on a large fleet: environments, a ComfyUI for each account, workers that are lost. Without I/O.

    python -m bench.scale --json docs/figures/placement.json   # 10,000 workers, 70,000 runs
    python -m bench.scale --workers 1000 --runs 13000 --losses 0

Time is simulated in ticks. More runs come than the fleet can do, so that there is a backlog. The server's placement
(`match`, with turns) is compared with first come first served, a random choice, and a clairvoyant order that knows the
whole queue, keeps workers on what they have loaded, and is fair to nobody.

A run whose worker is lost goes back to the queue; the worker is replaced after three minutes by one that has nothing.
"""

from __future__ import annotations

import argparse
import bisect
import heapq
import itertools
import json
import math
import random
import statistics
import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.placement import LOAD_S, LOOKAHEAD, POOL, RELOAD_S, RULES, SWITCH_S
from comfyward.dispatch.placement import NOBODY, SkippedSince, Worker, in_order, match
from comfyward.runs.waiting_run import WaitingRun
from comfyward.store.new_runs import TURN

TICK_S = 1.0
LOAD = 1.3  # more than the fleet can do if it never loaded anything
MEAN_S = 60.0
PARENT_S = 8.0  # a start of an environment's libraries; workers keep those of two environments
REPLACED_S = 180.0
CREDITS_PER_S = 0.001  # of a worker, at work or not
MAX_ASKING = 1000
ENVIRONMENTS = tuple(f"environment {number}" for number in range(5))
READY = frozenset(ENVIRONMENTS)

Turns = list[tuple[int, int]]  # (turn, index), sorted
Group = tuple[str, str, str]  # environment, account, model: what a worker has loaded


@dataclass(frozen=True)
class Planned:
    """A run of the trace."""

    index: int
    at_s: float
    group: Group
    run_s: float


@dataclass
class Gpu:
    name: str
    lost_at: float = math.inf
    group: Group = (ENVIRONMENTS[0], NOBODY, "")
    parents: deque[str] = field(default_factory=lambda: deque([ENVIRONMENTS[0]], maxlen=2))
    cached: set[str] = field(default_factory=set)

    def prepare(self, group: Group) -> float:
        """Makes a worker ready for a group, and returns the seconds that it takes."""
        (environment, _, model), before = group, self.group
        if group == before:
            return 0.0
        took_s = (0.0 if before[:2] == group[:2] else SWITCH_S) + (RELOAD_S if model in self.cached else LOAD_S)
        if environment not in self.parents:
            took_s += PARENT_S
            self.parents.append(environment)
        self.cached.add(model)
        self._hold(group)
        return took_s

    @cached_property
    def asking(self) -> Worker:
        return self._worker(idle=True)

    @cached_property
    def busy(self) -> Worker:
        return self._worker(idle=False)

    def renew(self) -> None:
        """The worker is another, which has nothing."""
        self.parents, self.cached = deque([ENVIRONMENTS[0]], maxlen=2), set()
        self._hold((ENVIRONMENTS[0], NOBODY, ""))

    def _hold(self, group: Group) -> None:
        self.group = group
        self.__dict__.pop("asking", None)
        self.__dict__.pop("busy", None)

    def _worker(self, *, idle: bool) -> Worker:
        environment, account, model = self.group
        warm = frozenset({model}) if model else frozenset[str]()
        in_memory = frozenset(self.cached) if idle else frozenset[str]()
        return Worker(self.name, POOL, environment, idle, warm, account=account, ready=READY, in_memory=in_memory)


class Queue:
    """The waiting runs by turns that are fair between accounts, and by what they need."""

    def __init__(self) -> None:
        self.by_turn: dict[str, dict[str, Turns]] = defaultdict(lambda: defaultdict(list))  # environment, account
        self.by_group: dict[Group, dict[int, Planned]] = defaultdict(dict)
        self.left_s: Counter[Group] = Counter()
        self.waiting: dict[int, Planned] = {}
        self.turns: dict[int, int] = {}
        self._last: dict[str, int] = {}
        self._served = 0

    def add(self, run: Planned) -> None:
        environment, account, _ = run.group
        if run.index not in self.turns:
            self.turns[run.index] = self._last[account] = max(self._served, self._last.get(account, -TURN) + TURN)
        bisect.insort(self.by_turn[environment][account], (self.turns[run.index], run.index))
        self.waiting[run.index] = self.by_group[run.group][run.index] = run
        self.left_s[run.group] += run.run_s  # type: ignore[assignment]

    def take(self, run: Planned) -> None:
        del self.waiting[run.index], self.by_group[run.group][run.index]
        turns = self.by_turn[run.group[0]][run.group[1]]
        del turns[bisect.bisect_left(turns, (self.turns[run.index], run.index))]
        self.left_s[run.group] -= run.run_s  # type: ignore[assignment]
        self._served = max(self._served, self.turns[run.index])

    def heads(self, most: int) -> list[Planned]:
        """The first runs of each environment by turn, as the server reads them."""
        merged = (heapq.merge(*accounts.values()) for accounts in self.by_turn.values())
        return [self.waiting[index] for of_environment in merged for _, index in itertools.islice(of_environment, most)]


Pairs = list[tuple[Gpu, Planned]]


class Ours:
    """The server's placement. `decisions_ms` are the durations of its calls on this machine."""

    def __init__(self, lookahead: int) -> None:
        self._lookahead = lookahead
        self._skipped: Mapping[str, SkippedSince] = {}
        self.decisions_ms: list[float] = []

    def __call__(self, queue: Queue, free: list[Gpu], busy: Mapping[Group, Worker], now_s: float) -> Pairs:
        now_ms, heads = int(now_s * 1000), queue.heads(self._lookahead)
        waiting = in_order([_waiting(run, queue.turns[run.index]) for run in heads], now_ms, 0)
        asking = [gpu.asking for gpu in free]
        others = list(busy.values())
        began = time.perf_counter()
        found = match(asking, waiting, others, now_ms, RULES, self._skipped)
        self.decisions_ms.append((time.perf_counter() - began) * 1000)
        self._skipped = found.skipped
        by_name = {gpu.name: gpu for gpu in free}
        return [(by_name[worker.id], queue.waiting[int(run.id)]) for worker, run in found.pairs]


def _waiting(run: Planned, turn: int) -> WaitingRun:
    environment, account, model = run.group
    at_ms = int(run.at_s * 1000)
    return WaitingRun(str(run.index), POOL, environment, at_ms, frozenset({model}), turn=turn, account_id=account)


def first_come(queue: Queue, free: list[Gpu], busy: Mapping[Group, Worker], now_s: float) -> Pairs:
    return list(zip(free, itertools.islice(queue.waiting.values(), len(free)), strict=False))


def at_random(queue: Queue, free: list[Gpu], busy: Mapping[Group, Worker], now_s: float) -> Pairs:
    chosen = random.sample(list(queue.waiting.values()), min(len(queue.waiting), len(free)))
    return list(zip(free, chosen, strict=False))


def clairvoyant(queue: Queue, free: list[Gpu], busy: Mapping[Group, Worker], now_s: float) -> Pairs:
    """Workers go on with what they have loaded; others go where most work is left."""
    pairs: Pairs = []
    rest: list[Gpu] = []
    left: dict[Group, Iterator[Planned]] = {}
    for gpu in free:
        runs = left.setdefault(gpu.group, iter(list(queue.by_group[gpu.group].values())))
        run = next(runs, None)
        if run is None:
            rest.append(gpu)
        else:
            pairs.append((gpu, run))
    heap = [(-left_s, group) for group, left_s in queue.left_s.items() if queue.by_group[group]] if rest else []
    heapq.heapify(heap)
    while rest and heap:
        weight, group = heapq.heappop(heap)
        run = next(left.setdefault(group, iter(list(queue.by_group[group].values()))), None)
        if run is not None:
            pairs.append((rest.pop(), run))
            heapq.heappush(heap, (weight + run.run_s, group))
    return pairs


Policy = Callable[[Queue, list[Gpu], Mapping[Group, Worker], float], Pairs]


@dataclass
class Played:
    """What happened to a trace: waits in seconds by account, and pieces of work as (start, end) in seconds."""

    workers: int
    waits: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    work: list[tuple[float, float]] = field(default_factory=list)
    switches: int = 0
    loads: int = 0
    lost: int = 0
    backlog_from_s: float = math.inf
    backlog_until_s: float = 0.0
    ended_s: float = 0.0

    def figures(self) -> dict[str, Any]:
        every = sorted(wait for waits in self.waits.values() for wait in waits)
        from_s, until_s = min(self.backlog_from_s, self.backlog_until_s), self.backlog_until_s
        used_s = sum(max(0.0, min(end, until_s) - max(start, from_s)) for start, end in self.work)
        had_s = max(1.0, self.workers * (until_s - from_s))
        done = max(1, sum(from_s < end <= until_s for _, end in self.work))
        by_account = {name: _percentiles(sorted(waits)) for name, waits in sorted(self.waits.items())}
        return {
            "runs": len(every),
            "wait_s": _percentiles(every),
            "median_of_accounts_s": {
                name: round(statistics.median(each[name] for each in by_account.values()), 1)
                for name in ("p50", "p95", "p99")
            },
            "worst_account_s": {
                name: max(each[name] for each in by_account.values()) for name in ("p50", "p95", "p99")
            },
            "idle_share_in_backlog": round(1 - used_s / had_s, 4),
            "backlog_s": round(until_s - from_s, 1),
            "took_s": round(self.ended_s, 1),
            "switches": self.switches,
            "loads": self.loads,
            "lost_runs": self.lost,
            "credits_per_1000_runs": round(1000 * CREDITS_PER_S * had_s / done, 2),
            "accounts_wait_s": by_account,
        }


def _percentiles(ordered: list[float]) -> dict[str, float]:
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    return {name: round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1) for name, share in shares.items()}


class Fleet:
    """The workers, free, at work or away."""

    def __init__(self, workers: int, losses_per_h: float, seed: int) -> None:
        self._draw, self._losses_per_h = random.Random(seed), losses_per_h
        self.gpus = [Gpu(f"w{number}") for number in range(workers)]
        for gpu in self.gpus:
            gpu.lost_at = self._lifetime_s()
        self.free = {gpu.name: gpu for gpu in self.gpus}
        self.ends: list[tuple[float, int, Gpu, Planned | None]] = []  # with a run that is given back
        self.busy: dict[Group, Worker] = {}  # one of each kind: for placement they are equal
        self._at_work: Counter[Group] = Counter()
        self._order = itertools.count()

    def start(self, gpu: Gpu, run: Planned, now_s: float, played: Played) -> None:
        if gpu.lost_at <= now_s:
            self._renew(gpu, now_s)
        del self.free[gpu.name]
        played.switches += gpu.group[:2] != run.group[:2]
        played.loads += gpu.group != run.group
        starts_s = now_s + gpu.prepare(run.group)
        ends_s = starts_s + run.run_s
        self._at_work[run.group] += 1
        self.busy[run.group] = gpu.busy
        if gpu.lost_at < ends_s:
            played.lost += 1
            heapq.heappush(self.ends, (gpu.lost_at, next(self._order), gpu, run))
            return
        played.waits[run.group[1]].append(now_s - run.at_s)
        played.work.append((starts_s, ends_s))
        heapq.heappush(self.ends, (ends_s, next(self._order), gpu, None))

    def ended(self, now_s: float, queue: Queue) -> None:
        """Frees the workers whose runs have ended or that were replaced; lost runs go back to the queue."""
        while self.ends and self.ends[0][0] <= now_s:
            at_s, _, gpu, run = heapq.heappop(self.ends)
            self._leave(gpu)
            if run is None:
                self.free[gpu.name] = gpu
                continue
            queue.add(run)
            self._renew(gpu, at_s + REPLACED_S)
            heapq.heappush(self.ends, (at_s + REPLACED_S, next(self._order), gpu, None))

    def _leave(self, gpu: Gpu) -> None:
        if self._at_work[gpu.group] > 0:
            self._at_work[gpu.group] -= 1
        if not self._at_work[gpu.group]:
            self.busy.pop(gpu.group, None)

    def _renew(self, gpu: Gpu, at_s: float) -> None:
        gpu.renew()
        gpu.lost_at = at_s + self._lifetime_s()

    def _lifetime_s(self) -> float:
        return self._draw.expovariate(self._losses_per_h / 3600) if self._losses_per_h else math.inf


def play(trace: list[Planned], workers: int, losses_per_h: float, policy: Policy, seed: int) -> Played:
    """Plays a trace tick by tick until the last run has ended."""
    fleet, queue, played = Fleet(workers, losses_per_h, seed), Queue(), Played(workers)
    arrived, now_s = 0, 0.0
    while arrived < len(trace) or queue.waiting or len(fleet.free) < workers:
        now_s += TICK_S
        while arrived < len(trace) and trace[arrived].at_s <= now_s:
            queue.add(trace[arrived])
            arrived += 1
        fleet.ended(now_s, queue)
        while queue.waiting and fleet.free:
            asking = list(itertools.islice(fleet.free.values(), MAX_ASKING))
            pairs = policy(queue, asking, fleet.busy, now_s)
            for gpu, run in pairs:
                queue.take(run)
                fleet.start(gpu, run, now_s, played)
            if not pairs:
                break
        if queue.waiting and not fleet.free and arrived < len(trace):
            played.backlog_from_s = min(played.backlog_from_s, now_s)
            played.backlog_until_s = now_s
    played.ended_s = now_s
    return played


def synthetic(runs: int, accounts: int, models: int, workers: int, seed: int) -> list[Planned]:
    """Bursts from accounts of different sizes, each with a favourite environment and model."""
    draw = random.Random(seed)
    sizes = [1 / (rank + 1) ** 0.8 for rank in range(accounts)]
    trace: list[Planned] = []
    arriving_s = runs * MEAN_S / workers / LOAD
    while len(trace) < runs:
        account, at_s = draw.choices(range(accounts), sizes)[0], draw.uniform(0, arriving_s)
        for _ in range(min(runs - len(trace), 1 + int(draw.expovariate(1 / 8)))):
            favourite = draw.random() < 0.7
            model = account % models if favourite else draw.randrange(models)
            environment = account % 5 if draw.random() < 0.8 else draw.randrange(5)
            run_s = max(2.0, draw.lognormvariate(math.log(MEAN_S) - 0.18, 0.6))
            trace.append(Planned(0, at_s, (ENVIRONMENTS[environment], f"account {account}", f"model {model}"), run_s))
    trace.sort(key=lambda run: run.at_s)
    return [Planned(index, run.at_s, run.group, run.run_s) for index, run in enumerate(trace)]


def _line(found: Mapping[str, Any]) -> str:
    waits, worst = found["wait_s"], found["worst_account_s"]
    return (
        f"waited p50/p95/p99 {waits['p50']:6.1f} {waits['p95']:6.1f} {waits['p99']:6.1f} s, the worst account's p95 "
        f"{worst['p95']:6.1f} s; idle {found['idle_share_in_backlog']:6.1%}; {found['switches']:,} switches, "
        f"{found['loads']:,} loads, {found['lost_runs']} lost; ended after {found['took_s']:.0f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=70_000)
    parser.add_argument("--accounts", type=int, default=100)
    parser.add_argument("--models", type=int, default=10)
    parser.add_argument("--losses", type=float, default=0.05, help="of the workers, by hour")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lookahead", type=int, default=LOOKAHEAD, help="runs that one decision of ours looks at")
    parser.add_argument("--only")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    random.seed(args.seed)
    ours = Ours(args.lookahead)
    policies: dict[str, Policy] = {
        "comfyward": ours,
        "first come": first_come,
        "random": at_random,
        "clairvoyant": clairvoyant,
    }
    figures: dict[str, Any] = {"workers": args.workers, "accounts": args.accounts, "losses_per_hour": args.losses}
    figures |= {"environments": len(ENVIRONMENTS), "models": args.models, "seed": args.seed, "policies": {}}
    trace = synthetic(args.runs, args.accounts, args.models, args.workers, args.seed)
    for name, policy in policies.items():
        if args.only in (None, name):
            began = time.perf_counter()
            found = play(trace, args.workers, args.losses, policy, args.seed).figures()
            figures["policies"][name] = found
            print(f"{name:12}{_line(found)}  ({time.perf_counter() - began:.0f} s here)", flush=True)
    if ours.decisions_ms:
        ordered = sorted(ours.decisions_ms)
        figures["decision_ms"] = {"median": round(statistics.median(ordered), 1), "p99": _percentiles(ordered)["p99"]}
        print("decisions:", len(ordered), figures["decision_ms"])
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
