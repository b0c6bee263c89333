"""Recalls: which staged runs are taken back from workers that execute others, for workers that are idle. Pure.

Nobody knows how long the run ahead of a staged one will take. So a staged run is moved once it has waited for its GPU
as long as the move would cost: the messages, a start of ComfyUI or a load of models if the idle worker is not warm for
it, and the fetching of the files that the idle worker's host lacks. It then ends at most that cost later than if it
had stayed, and waits at most twice as long as with the better choice.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from comfyward.dispatch.placement import NOBODY, Rules, Worker, in_order
from comfyward.runs.staged_run import BroughtFile, StagedRun
from comfyward.runs.waiting_run import WaitingRun

MOVE_MS = 1_000  # the order, the report, and the next assignment; the run ahead may end meanwhile
KEPT_MS = 5_000  # a recalled run is kept for its new worker, that no other takes it between the two
FETCHED_BYTES_PER_MS = 100_000  # a guess at the connection of a host
UNKNOWN_MODEL_BYTES = 4 << 30
UNKNOWN_INPUT_BYTES = 10 << 20


@dataclass(frozen=True)
class Idle:
    """A worker that waits for a run and holds none."""

    worker: Worker
    host: str


@dataclass(frozen=True)
class Recall:
    """A staged run to take back, for an idle worker."""

    staged: StagedRun
    worker_id: str


def recalls(staged: Sequence[StagedRun], idle: Collection[Idle], now_ms: int, rules: Rules) -> list[Recall]:
    """The recalls that are due: each idle worker gets one run at most, the first that the queue would assign."""
    by_id, left = {each.run.id: each for each in staged}, list(idle)
    found: list[Recall] = []
    for run in in_order([each.run for each in staged], now_ms, rules.ageing_ms):
        moved = by_id[run.id]
        waited_ms = now_ms - moved.staged_at
        if waited_ms < MOVE_MS:
            continue
        costs = [(cost_ms(moved, each, rules), each.worker.id, each) for each in left if _may_have(each.worker, moved)]
        cost, worker_id, best = min(costs, default=(0, "", None))
        if best is not None and waited_ms >= cost:
            found.append(Recall(moved, worker_id))
            left.remove(best)
    return found


def cost_ms(staged: StagedRun, idle: Idle, rules: Rules) -> int:
    """The time that it costs to move a staged run to an idle worker."""
    lacking = 0
    if idle.host != staged.host:  # else both have one cache
        lacking = sum(_size(file) for file in staged.files if not _has(idle.worker, file))
    start_ms = 0 if _is_warm(idle.worker, staged.run) else rules.affinity_wait_ms
    return MOVE_MS + start_ms + lacking // FETCHED_BYTES_PER_MS


def as_kept(run: WaitingRun, now_ms: int, busy: Collection[str]) -> WaitingRun:
    """A queued run that is kept for a worker only as long as a recalled run may be, and while the worker is idle.

    `busy` are the ids of workers that execute a run by now.
    """
    is_over = run.kept_for is not None and (run.kept_for in busy or now_ms - run.given_back_at >= KEPT_MS)
    return replace(run, kept_for=None) if is_over else run


def _may_have(worker: Worker, staged: StagedRun) -> bool:
    return worker.id != staged.worker_id and worker.serves(staged.run) and worker.takes(staged.run)


def _is_warm(worker: Worker, run: WaitingRun) -> bool:
    is_near = worker.environment == run.environment and worker.account in (run.account_id, NOBODY)
    return is_near and worker.kind.holds(run)


def _has(worker: Worker, file: BroughtFile) -> bool:
    return file.name in worker.cached or file.name in worker.in_memory


def _size(file: BroughtFile) -> int:
    """In bytes; what is not known is guessed."""
    if file.size is not None:
        return file.size
    return UNKNOWN_MODEL_BYTES if file.is_model else UNKNOWN_INPUT_BYTES
