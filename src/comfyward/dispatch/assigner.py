"""Assigns queued runs to waiting workers.

One loop matches all waiting workers with the queue, so a thousand of them cost one query, not a thousand. A run that
comes while a worker waits, and no other round is made, gets a round of its own in the transaction that queues it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

from sqlalchemy import Connection

from comfyward import metrics
from comfyward.dispatch import transitions
from comfyward.dispatch.assignment import AssignmentRound, Outcome
from comfyward.dispatch.placement import NOBODY, Rules, SkippedSince, Worker
from comfyward.dispatch.publisher import Publisher
from comfyward.dispatch.waiting import HAND_OUT, WaitingWorkers
from comfyward.dispatch.worker_orders import WorkerRef
from comfyward.dispatch.worker_sessions import WorkerSessions
from comfyward.errors import ComfywardError, Unavailable
from comfyward.loop import Loop
from comfyward.runs.change import Change
from comfyward.runs.run import Run
from comfyward.store import leases, queue, workers
from comfyward.store.db import Database, now_ms
from comfyward.store.statement import Answer, Question
from comfyward.store.workers import Holding
from comfyward.worker.message_bounds import MAX_PATH, MAX_READY, MAX_WARM
from comfyward.worker.protocol import Ask

log = logging.getLogger(__name__)

R = TypeVar("R")
S = TypeVar("S")

Queueing = Callable[[Connection, Answer | None], tuple[R, Sequence[Change | None]]]
"""A write that may queue a run: it returns its result and the changes that it made."""

STAGED_EACH = 2  # runs of an account whose files a worker fetches at once
ELSEWHERE_MS = 2_000  # maximum age of the rows of workers that use other servers


class Assigner(Loop):
    """queued → assigned."""

    name = HAND_OUT
    interval_s = 0.5

    def __init__(
        self,
        db: Database,
        publisher: Publisher,
        waiting: WaitingWorkers,
        sessions: WorkerSessions,
        rules: Rules,
        prices: Mapping[str, float],
    ) -> None:
        """`prices` are credits per second of GPU time, by pool."""
        super().__init__(waiting.hint)
        db.notices.wake(self.name, waiting.hint)
        self._db, self._publisher, self._waiting, self._sessions = db, publisher, waiting, sessions
        self._rules, self._prices = rules, prices
        self._matching = asyncio.Lock()  # no worker is in two rounds at a time
        self._skipped: Mapping[str, SkippedSince] = {}
        self._elsewhere: list[Worker] = []
        self._read_elsewhere_at = 0
        self._is_draining = False

    async def ask(self, ref: WorkerRef, ask: Ask) -> Run | None:
        """Waits for a run for a worker. Returns None after `ask.wait_s` seconds."""
        worker = self._described(ref, ask)
        await self._give_back_lost(ask)
        if self._is_draining:
            return None
        self._sessions.update(worker, busy=bool(ask.holding))
        return await self._waiting.run_for(worker, ref.device, ask.wait_s, len(ask.holding))

    def stop_assigning(self) -> None:
        """Stops assigning runs and answers all waiting workers, before the server stops."""
        self._is_draining = True
        self._waiting.dismiss()

    async def queue(self, pool: str, first: Question | None, write: Queueing[R]) -> R:
        """Runs a write that may queue a run of a pool, publishes the changes that it returns, and returns its result.

        It gets the answer to its `first` question, if it has one. If a worker waits here and no round is being made,
        one is made in the same transaction. It goes on if the caller is cancelled: what was assigned has to reach its
        worker.
        """
        if pool not in self._waiting.pools or self.is_matching:
            return await self._queued(first, write)
        queued = asyncio.create_task(self._queued_and_assigned(first, write))
        return await asyncio.shield(queued)

    async def tick(self) -> dict[str, int]:
        """Matches the queue with the waiting workers, in one transaction."""
        async with self._matching:
            pools = self._waiting.pools
            if not pools or await self._db.lookup(queue.is_empty, pools):
                return {}
            assignment_round = await self._next_round()
            outcome = await self._db.write(assignment_round.apply)
            await self._hand_out(assignment_round, outcome)
            return {"assigned": len(outcome.assigned), "unpaid": len(outcome.unpaid)}

    @property
    def is_matching(self) -> bool:
        """True while a round is made."""
        return self._matching.locked()

    async def _queued(self, first: Question | None, write: Queueing[R]) -> R:
        result, made = await self._written(first, write)
        self._publisher.publish(*made)
        return result

    async def _queued_and_assigned(self, first: Question | None, write: Queueing[R]) -> R:
        async with self._matching:
            assignment_round = await self._next_round()
            written: tuple[tuple[R, Sequence[Change | None]], Outcome]
            try:
                written = await self._written(first, _followed, write, assignment_round)
            except ComfywardError:
                raise
            except Exception:  # of the round, perhaps: what is in the queue must not stop what comes into it
                log.exception("a run is queued without a round", extra={"action": "round_failed"})
                return await self._queued(first, write)
            (result, made), outcome = written
            self._publisher.publish(*made)
            await self._hand_out(assignment_round, outcome)
            return result

    async def _written(self, first: Question | None, operation: Callable[..., S], *args: object) -> S:
        if first is not None:
            return await self._db.write_after(first, operation, *args)
        return await self._db.write(operation, None, *args)

    async def _next_round(self) -> AssignmentRound:
        lease_ms = int(self._sessions.lease_s * 1000)
        others = await self._others()
        return AssignmentRound(self._waiting.asking, others, self._rules, self._skipped, lease_ms, self._prices)

    async def _hand_out(self, assignment_round: AssignmentRound, outcome: Outcome) -> None:
        """Publishes the outcome of a round, and sends the runs to their workers."""
        self._skipped = outcome.skipped
        self._waiting.matched(is_any_left=outcome.is_any_left)
        self._publisher.publish(*outcome.unpaid)
        for assigned in outcome.assigned:
            run = assigned.run
            _count(run, next(worker for worker, _ in assignment_round.asking if worker.id == run.worker_id))
            self._publisher.publish(assigned)
            await self._hand_over(run)
        if outcome.look_again and self._waiting:
            self.wake()

    def _described(self, ref: WorkerRef, ask: Ask) -> Worker:
        """A worker as it will be once it has done the runs that it holds."""
        cached, account, warm = self._sessions.files_of(ref.worker_id), NOBODY, _within_bounds(ask.warm)
        running = ask.environment or ref.environment
        environment = (ask.holding and self._sessions.environment_of(ref.worker_id)) or running
        if self._rules.isolated:
            account = (ask.holding and self._sessions.account_of(ref.worker_id)) or ask.account
        warm = warm if (environment, account or ask.account) == (running, ask.account) else frozenset()
        ready = frozenset([ref.environment, *ask.ready[:MAX_READY]])
        full = frozenset(each for each, count in Counter(ask.staging).items() if count >= STAGED_EACH)
        kept = frozenset(ask.in_memory)
        return Worker(ref.worker_id, ref.pool, environment, ask.idle, warm, cached, account, full, ready, kept)

    async def _others(self) -> Collection[Worker]:
        """All known workers, waiting or not; those of other servers as described by their rows."""
        if not self._db.is_shared:
            return self._sessions.workers
        now = now_ms()
        if now - self._read_elsewhere_at > ELSEWHERE_MS:
            self._read_elsewhere_at = now
            present = await self._db.lookup(workers.holdings, now - workers.PRESENT_MS)
            self._elsewhere = [_elsewhere(row, isolated=self._rules.isolated) for row in present]
        return self._elsewhere

    async def _hand_over(self, run: Run) -> None:
        """Sends a run to its worker, or gives it back if the worker no longer waits."""
        assert run.worker_id is not None
        self._sessions.handed(run, isolated=self._rules.isolated)
        if not self._waiting.give(run.worker_id, run):
            with contextlib.suppress(Unavailable):  # else its lease expires
                self._publisher.publish(await self._db.write(transitions.given_back, run, now_ms()))

    async def _give_back_lost(self, ask: Ask) -> None:
        """Gives back runs whose assignment was lost on the way: the worker does not know their leases."""
        if ask.heard:
            return
        for run in await self._db.lookup(_lost_assignments, ask.worker_id, ask.holding):
            self._publisher.publish(await self._db.write(transitions.given_back, run, now_ms()))


def _followed(
    conn: Connection, answer: Answer | None, write: Queueing[R], assignment_round: AssignmentRound
) -> tuple[tuple[R, Sequence[Change | None]], Outcome]:
    return write(conn, answer), assignment_round.apply(conn)


def _within_bounds(warm: Sequence[str]) -> frozenset[str]:
    """The models that a worker says are warm, as many as are stored: descriptions are kept for later rounds."""
    return frozenset(name for name in warm[:MAX_WARM] if len(name) <= MAX_PATH)


def _elsewhere(row: Holding, *, isolated: bool) -> Worker:
    """A worker of another server. Of an idle one, the server does not know whose ComfyUI it has."""
    if not isolated:
        return Worker(row.worker_id, row.pool, row.environment, False, row.warm)
    warm = row.warm if row.account_id else frozenset[str]()
    return Worker(row.worker_id, row.pool, row.environment, False, warm, account=row.account_id or NOBODY)


def _count(run: Run, worker: Worker) -> None:
    """Counts an assigned run."""
    metrics.handed_out.labels(run.pool, _held(run, worker)).inc()
    if worker.environment != run.environment:
        metrics.environment_switches.labels(metrics.environment_names.label(run.environment_alone)).inc()


def _held(run: Run, worker: Worker) -> str:
    """The metric's label for an assigned run: "held" if its worker has its models loaded, where it can use them."""
    if not run.models:
        return "none"
    is_held = worker.account in (NOBODY, run.account_id) and worker.warm.issuperset(run.models)
    is_held = is_held and worker.environment == run.environment
    return "held" if is_held else "to load"


def _lost_assignments(conn: Connection, worker_id: str, holding: list[str]) -> list[Run]:
    return [run for run in leases.leased_by(conn, worker_id) if run.lease not in holding]
