"""Simulates runs staged behind long ones beside idle GPUs, with and without recalls, hours in seconds, without I/O.

    python -m bench.recalls                          # 10,000 runs on 16 workers: pictures, and now and then a video
    python -m bench.recalls --load 0.5 --model-gb 30

Each worker executes one run and stages the next one ahead. A run goes to an idle worker if there is one, else to one
that executes. The server's own rule (`recalls`) is asked once a second which staged runs move to idle workers; a moved
run's worker first fetches what it lacks. `beside` is the part of the GPUs' time that is spent idle while a run waits,
ready, behind another.
"""

from __future__ import annotations

import argparse
import random
from collections import deque
from dataclasses import dataclass, field

from comfyward.dispatch.placement import Rules, Worker
from comfyward.dispatch.recalls import FETCHED_BYTES_PER_MS, Idle, recalls
from comfyward.runs.staged_run import BroughtFile, StagedRun
from comfyward.runs.waiting_run import WaitingRun

POOL, ENVIRONMENT = "L4", "default"
RULES = Rules(affinity_wait_ms=2_000)
STEP_MS = 1_000  # the recaller's interval
PICTURE_S, VIDEO_S = 8.0, 300.0


@dataclass(frozen=True)
class Job:
    at_ms: int
    takes_ms: int
    model: str
    size: int


@dataclass
class Gpu:
    """`ends_at` is of the run that executes; from `staged_at` on, the files of the one `ahead` are here (ms)."""

    name: str
    ends_at: int | None = None
    ahead: tuple[int, Job] | None = None
    staged_at: int = 0
    has: set[str] = field(default_factory=set)

    def fetch_ms(self, job: Job) -> int:
        return 0 if job.model in self.has else job.size // FETCHED_BYTES_PER_MS

    def stage(self, number: int, job: Job, now: int) -> None:
        self.ahead, self.staged_at = (number, job), now + self.fetch_ms(job)
        self.has.add(job.model)

    @property
    def is_idle(self) -> bool:
        return self.ends_at is None and self.ahead is None


@dataclass
class Totals:
    waits: list[float] = field(default_factory=list)
    idle_beside: int = 0
    moves: int = 0

    def at(self, share: float) -> float:
        return sorted(self.waits)[int(share * (len(self.waits) - 1))] / 1000


def simulate(jobs: list[Job], workers: int, *, with_recalls: bool) -> tuple[Totals, int]:
    """The totals, and the time (ms) at which all is done."""
    gpus, queue, totals = [Gpu(f"w{number:03}") for number in range(workers)], deque(enumerate(jobs)), Totals()
    now = 0
    while queue or any(not gpu.is_idle for gpu in gpus):
        _begin(gpus, totals, now)
        _assign(gpus, queue, now)
        _begin(gpus, totals, now)
        ready = sum(gpu.ends_at is not None and gpu.ahead is not None and gpu.staged_at <= now for gpu in gpus)
        totals.idle_beside += STEP_MS * min(ready, sum(gpu.is_idle for gpu in gpus))
        if with_recalls:
            _recall(gpus, totals, now)
        now += STEP_MS
    return totals, now


def _begin(gpus: list[Gpu], totals: Totals, now: int) -> None:
    """Ends the runs that are over, and executes the staged ones of free GPUs."""
    for gpu in gpus:
        if gpu.ends_at is not None and gpu.ends_at <= now:
            gpu.ends_at = None
        if gpu.ends_at is None and gpu.ahead is not None and gpu.staged_at <= now:
            _, job = gpu.ahead
            gpu.ends_at, gpu.ahead = now + job.takes_ms, None
            totals.waits.append(now - job.at_ms)


def _assign(gpus: list[Gpu], queue: deque[tuple[int, Job]], now: int) -> None:
    while queue and queue[0][1].at_ms <= now:
        model = queue[0][1].model
        free = [gpu for gpu in gpus if gpu.ahead is None]
        if not free:
            return
        best = min(free, key=lambda gpu: (gpu.ends_at is not None, model not in gpu.has, gpu.name))
        best.stage(*queue.popleft(), now)


def _recall(gpus: list[Gpu], totals: Totals, now: int) -> None:
    by_name = {gpu.name: gpu for gpu in gpus}
    staged = [
        _staged(gpu) for gpu in gpus if gpu.ends_at is not None and gpu.ahead is not None and gpu.staged_at <= now
    ]
    idle = [Idle(_worker(gpu), gpu.name) for gpu in gpus if gpu.is_idle] if staged else []
    for recall in recalls(staged, idle, now, RULES):
        held = by_name[recall.staged.worker_id]
        assert held.ahead is not None
        by_name[recall.worker_id].stage(*held.ahead, now)
        held.ahead = None
        totals.moves += 1


def _staged(gpu: Gpu) -> StagedRun:
    assert gpu.ahead is not None
    number, job = gpu.ahead
    run = WaitingRun(str(number), POOL, ENVIRONMENT, job.at_ms, frozenset(), turn=number)
    return StagedRun(run, run.id, gpu.name, gpu.name, gpu.staged_at, [BroughtFile(job.model, True, job.size)])


def _worker(gpu: Gpu) -> Worker:
    return Worker(gpu.name, POOL, ENVIRONMENT, True, frozenset(), frozenset(gpu.has))


def trace(runs: int, workers: int, load: float, videos: float, model_bytes: int, seed: int) -> list[Job]:
    draw, now, found = random.Random(seed), 0.0, []
    mean_s = PICTURE_S * (1 - videos) + VIDEO_S * videos
    for _ in range(runs):
        takes_s = VIDEO_S * draw.uniform(0.5, 1.5) if draw.random() < videos else draw.expovariate(1 / PICTURE_S)
        found.append(Job(int(now * 1000), int(takes_s * 1000), f"model {draw.randrange(5)}", model_bytes))
        now += draw.expovariate(workers * load / mean_s)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--load", type=float, default=0.9)
    parser.add_argument("--videos", type=float, default=0.05)
    parser.add_argument("--model-gb", type=float, default=6)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    jobs = trace(args.runs, args.workers, args.load, args.videos, int(args.model_gb * 1e9), args.seed)
    print(f"{len(jobs):,} runs, {args.workers} workers, load {args.load}, models of {args.model_gb} GB")
    print(f"{'':14}{'beside':>8}{'p50 s':>9}{'p95 s':>9}{'p99 s':>9}{'moved':>8}")
    for name, with_recalls in (("stays", False), ("recalled", True)):
        totals, ended_ms = simulate(jobs, args.workers, with_recalls=with_recalls)
        beside = totals.idle_beside / (ended_ms * args.workers)
        waits = "".join(f"{totals.at(share):9.1f}" for share in (0.5, 0.95, 0.99))
        print(f"{name:14}{beside:8.2%}{waits}{totals.moves:8,}")


if __name__ == "__main__":
    main()
