"""Simulates placement: a trace of runs on a fleet, hours in seconds, without I/O.

    python -m bench.placement                       # 20,000 runs of 20 accounts on 16 workers, five models
    python -m bench.placement --runs 1000000 --workers 2000 --accounts 500
    python -m bench.placement --isolation account   # each account its own ComfyUI: a switch costs a forked start
    python -m bench.placement --trace runs.jsonl    # a recorded trace: {"at_s", "account", "model", "run_s"} per line

Compares the server's policy (`match`, with turns and affinity) with first come first served, a random choice among the
waiting runs, and an unreachable bound: loading a model and starting ComfyUI take no time. With isolation, a worker that
changes accounts starts ComfyUI and loads the model again, from the page cache if its host has had it.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import math
import random
import statistics
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from comfyward.dispatch.placement import NOBODY, Rules, SkippedSince, Worker, in_order, match
from comfyward.runs.waiting_run import WaitingRun
from comfyward.store.new_runs import TURN

LOOKAHEAD = 200
RULES = Rules(affinity_wait_ms=2_000, pass_ms=120_000)
LOAD_S = 12.0  # a checkpoint of some GB from disk to GPU
RELOAD_S = 3.0  # the same from the page cache
SWITCH_S = 2.0  # a forked start of ComfyUI for another account
CACHED_MODELS = 8  # in the page cache of a worker's host
MAX_ASKING = 64
MODELS_PER_GPU = 1
POOL, ENVIRONMENT = "L4", "default"


@dataclass(frozen=True)
class TraceRun:
    at_s: float
    account: str
    model: str
    run_s: float


@dataclass
class Gpu:
    """A worker. `warm` are the models loaded on its GPU, newest last; `cached` those in its host's page cache."""

    name: str
    is_isolated: bool = False  # each account has a ComfyUI of its own
    account: str = NOBODY
    warm: deque[str] = field(default_factory=lambda: deque(maxlen=MODELS_PER_GPU))
    cached: deque[str] = field(default_factory=lambda: deque(maxlen=CACHED_MODELS))
    busy_s: float = 0.0
    lost_s: float = 0.0
    loads: int = 0
    switches: int = 0

    def take(self, run: TraceRun, now_s: float, holders: Holders, *, is_free: bool) -> float:
        """Starts a run and returns the time at which it will be done. `is_free`: loads and switches take no time."""
        holders.get(self._holding, {}).pop(self.name, None)
        lost_s = 0.0 if is_free else self._switch_to(run.account) + self._load(run.model)
        holders[self._holding][self.name] = self
        self.busy_s, self.lost_s = self.busy_s + run.run_s, self.lost_s + lost_s
        return now_s + run.run_s + lost_s

    @property
    def _holding(self) -> Holding:
        return self.account, frozenset(self.warm)

    def _switch_to(self, account: str) -> float:
        """Starts ComfyUI for another account; a new one has nothing loaded. Returns the time that it takes."""
        if not self.is_isolated or self.account == account:
            return 0.0
        self.switches += self.account != NOBODY
        self.account = account
        self.warm.clear()
        return SWITCH_S

    def _load(self, model: str) -> float:
        if model in self.warm:
            return 0.0
        self.loads += 1
        self.warm.append(model)
        if model in self.cached:
            return RELOAD_S
        self.cached.append(model)
        return LOAD_S


Holding = tuple[str, frozenset[str]]  # an account and models
Holders = dict[Holding, dict[str, Gpu]]  # by name, the workers that hold them


class Queue:
    """The waiting runs, ordered by their turns."""

    def __init__(self) -> None:
        self.turns: dict[str, int] = {}
        self.served = 0
        self.waiting: dict[str, deque[tuple[int, int]]] = defaultdict(deque)  # (turn, index) by account
        self.length = 0

    def add(self, index: int, run: TraceRun) -> None:
        turn = max(self.served, self.turns.get(run.account, -TURN) + TURN)
        self.turns[run.account] = turn
        self.waiting[run.account].append((turn, index))
        self.length += 1

    def heads(self, limit: int) -> list[tuple[int, int]]:
        """The first (turn, index) of the queue."""
        fronts = [(runs[0], account, 0) for account, runs in self.waiting.items() if runs]
        heapq.heapify(fronts)
        found = []
        while fronts and len(found) < limit:
            head, account, place = heapq.heappop(fronts)
            found.append(head)
            if place + 1 < len(self.waiting[account]):
                heapq.heappush(fronts, (self.waiting[account][place + 1], account, place + 1))
        return found

    def remove(self, turn: int, index: int, account: str) -> None:
        self.waiting[account].remove((turn, index))
        self.length -= 1
        self.served = max(self.served, turn)


@dataclass
class Result:
    """The waiting times in seconds by account, and the fleet's totals."""

    waits: dict[str, list[float]]
    loads: int
    switches: int
    runs: int
    makespan_s: float
    busy_s: float
    lost_s: float
    workers: int
    took_s: float

    @property
    def warm_share(self) -> float:
        return 1 - self.loads / self.runs

    @property
    def lost_share(self) -> float:
        """Of the time that workers were given runs for, the part in which ComfyUI started and loaded models."""
        return self.lost_s / (self.lost_s + self.busy_s)

    def percentile(self, share: float) -> float:
        every = sorted(wait for waits in self.waits.values() for wait in waits)
        return every[min(len(every) - 1, int(share * len(every)))]

    def worst_account(self) -> float:
        """The longest mean wait of an account, relative to the mean of all runs."""
        means = [statistics.fmean(waits) for waits in self.waits.values()]
        overall = statistics.fmean(wait for waits in self.waits.values() for wait in waits)
        return max(means) / overall if overall else 1.0


# (heads of the queue, free workers, holders of models, trace, now) -> pairs of worker and (turn, index)
Policy = Callable[[list[tuple[int, int]], list[Gpu], Holders, list[TraceRun], float], list[tuple[Gpu, tuple[int, int]]]]


class Ours:
    """The server's policy."""

    def __init__(self) -> None:
        self._skipped: Mapping[str, SkippedSince] = {}

    def __call__(
        self, heads: list[tuple[int, int]], free: list[Gpu], holders: Holders, trace: list[TraceRun], now_s: float
    ) -> list[tuple[Gpu, tuple[int, int]]]:
        now_ms = int(now_s * 1000)
        waiting = [_waiting_run(trace[index], str(index), turn) for turn, index in heads]
        by_name, by_index = {gpu.name: gpu for gpu in free}, {str(index): (turn, index) for turn, index in heads}
        asking = [_worker(gpu, idle=True) for gpu in free[:MAX_ASKING]]
        # Workers that hold the same are equal for placement, so one of each kind is enough.
        others = [_worker(next(iter(gpus.values())), idle=False) for gpus in holders.values() if gpus]
        found = match(asking, in_order(waiting, now_ms, 0), others, now_ms, RULES, self._skipped)
        self._skipped = found.skipped
        return [(by_name[worker.id], by_index[run.id]) for worker, run in found.pairs]


def _worker(gpu: Gpu, *, idle: bool) -> Worker:
    return Worker(gpu.name, POOL, ENVIRONMENT, idle, frozenset(gpu.warm), account=gpu.account)


def _waiting_run(run: TraceRun, run_id: str, turn: int) -> WaitingRun:
    at_ms, models = int(run.at_s * 1000), frozenset({run.model})
    return WaitingRun(run_id, POOL, ENVIRONMENT, at_ms, models, turn=turn, account_id=run.account)


def first_come(
    heads: list[tuple[int, int]], free: list[Gpu], holders: Holders, trace: list[TraceRun], now_s: float
) -> list[tuple[Gpu, tuple[int, int]]]:
    return list(zip(free, sorted(heads, key=lambda head: head[1]), strict=False))


def at_random(
    heads: list[tuple[int, int]], free: list[Gpu], holders: Holders, trace: list[TraceRun], now_s: float
) -> list[tuple[Gpu, tuple[int, int]]]:
    chosen = random.sample(heads, min(len(heads), len(free)))
    return list(zip(random.sample(free, len(chosen)), chosen, strict=True))


def simulate(
    trace: list[TraceRun], workers: int, policy: Policy, *, is_isolated: bool = False, is_free: bool = False
) -> Result:
    """Plays a trace. Free workers ask for runs, and are matched at each arrival, each end, and each second."""
    began = time.perf_counter()
    gpus = [Gpu(f"w{number}", is_isolated) for number in range(workers)]
    free, queue = dict.fromkeys(gpu.name for gpu in gpus), Queue()
    by_name, holders = {gpu.name: gpu for gpu in gpus}, defaultdict[Holding, dict[str, Gpu]](dict)
    ends: list[tuple[float, str]] = []
    waits: dict[str, list[float]] = defaultdict(list)
    arrived, now_s = 0, 0.0
    while arrived < len(trace) or queue.length or ends:
        now_s = _next(trace, arrived, ends, now_s, bool(queue.length and free))
        while arrived < len(trace) and trace[arrived].at_s <= now_s:
            queue.add(arrived, trace[arrived])
            arrived += 1
        while ends and ends[0][0] <= now_s:
            free[heapq.heappop(ends)[1]] = None
        if not (queue.length and free):
            continue
        heads = queue.heads(LOOKAHEAD)
        asking = [by_name[name] for name in itertools.islice(free, LOOKAHEAD)]
        for gpu, (turn, index) in policy(heads, asking, holders, trace, now_s):
            run = trace[index]
            queue.remove(turn, index, run.account)
            waits[run.account].append(now_s - run.at_s)
            heapq.heappush(ends, (gpu.take(run, now_s, holders, is_free=is_free), gpu.name))
            del free[gpu.name]
    names = ("busy_s", "lost_s", "loads", "switches")
    busy_s, lost_s, loads, switches = (sum(getattr(gpu, name) for gpu in gpus) for name in names)
    took_s = time.perf_counter() - began
    return Result(waits, loads, switches, len(trace), now_s, busy_s, lost_s, workers, took_s)


def _next(trace: list[TraceRun], arrived: int, ends: list[tuple[float, str]], now_s: float, passes: bool) -> float:
    times = [trace[arrived].at_s] if arrived < len(trace) else []
    times += [ends[0][0]] if ends else []
    if passes:
        times.append(now_s + 1.0)  # a worker has skipped runs, and asks again
    return max(now_s, min(times)) if times else math.inf


def synthetic(runs: int, accounts: int, models: int, workers: int, load: float, seed: int) -> list[TraceRun]:
    """Bursts from accounts of different sizes, each with a favourite model; `load` is the fleet's, if always warm."""
    draw = random.Random(seed)
    sizes = [1 / (rank + 1) ** 0.8 for rank in range(accounts)]
    mean_s = 8.0
    rate = workers * load / mean_s
    now, trace = 0.0, []
    while len(trace) < runs:
        account = draw.choices(range(accounts), sizes)[0]
        burst = min(runs - len(trace), 1 + int(draw.expovariate(1 / 4)))
        for _ in range(burst):
            model = account % models if draw.random() < 0.7 else draw.randrange(models)
            length_s = max(1.0, draw.lognormvariate(math.log(mean_s) - 0.18, 0.6))
            trace.append(TraceRun(now, f"account {account}", f"model {model}", length_s))
        now += draw.expovariate(rate / 5)
    return trace


def recorded(path: Path) -> Iterator[TraceRun]:
    for line in path.read_text().splitlines():
        yield TraceRun(**json.loads(line))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--accounts", type=int, default=20)
    parser.add_argument("--models", type=int, default=5)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--load", type=float, default=0.8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--isolation", choices=["shared", "account"], default="shared")
    parser.add_argument("--trace", type=Path)
    parser.add_argument("--only", help="One of the policies: ours, first-come, random, bound")
    args = parser.parse_args()
    random.seed(args.seed)
    if args.trace:
        trace = sorted(recorded(args.trace), key=lambda run: run.at_s)
    else:
        trace = synthetic(args.runs, args.accounts, args.models, args.workers, args.load, args.seed)
    policies: dict[str, tuple[Policy, bool]] = {
        "ours": (Ours(), False),
        "first-come": (first_come, False),
        "random": (at_random, False),
        "bound": (first_come, True),
    }
    print(f"{len(trace):,} runs, {len({run.account for run in trace})} accounts, {args.workers} workers")
    waits = (("p50 s", 9), ("p95 s", 9), ("p99 s", 9))
    columns = (
        *waits,
        ("warm", 8),
        ("switches", 10),
        ("lost", 8),
        ("GPU busy", 10),
        ("worst account", 15),
        ("GPU h", 9),
    )
    print(" " * 12 + "".join(f"{name:>{width}}" for name, width in (*columns, ("took s", 8))))
    for name, (policy, is_free) in policies.items():
        if args.only in (None, name):
            isolated = args.isolation == "account"
            result = simulate(trace, args.workers, policy, is_isolated=isolated, is_free=is_free)
            print(
                f"{name:12}{result.percentile(0.5):9.1f}{result.percentile(0.95):9.1f}{result.percentile(0.99):9.1f}"
                f"{result.warm_share:8.1%}{result.switches:10,}{result.lost_share:8.1%}"
                f"{result.busy_s / result.makespan_s / result.workers:10.1%}"
                f"{result.worst_account():15.2f}{result.makespan_s * result.workers / 3600:9.1f}{result.took_s:8.1f}"
            )


if __name__ == "__main__":
    main()
