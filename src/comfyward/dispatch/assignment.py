"""A round of assignments, in one transaction: what it reads from the queue is what it changes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from comfyward.dispatch import transitions
from comfyward.dispatch.placement import (
    Rules,
    SkippedSince,
    Worker,
    in_order,
    match,
    within_limits,
)
from comfyward.dispatch.recalls import as_kept
from comfyward.ids import new_secret
from comfyward.runs.change import Change, RunAssigned
from comfyward.runs.run import EndReason
from comfyward.runs.waiting_run import WaitingRun
from comfyward.store import accounts, leases, queue, runs
from comfyward.store.db import now_ms

QUEUE_LOOKAHEAD = 200
MOST_LOOKS = 8  # past accounts that have all the runs that they may have


@dataclass(frozen=True)
class Outcome:
    """The changes made by a round. `unpaid` are runs that ended because their account is out of credit."""

    assigned: Sequence[RunAssigned] = ()
    unpaid: Sequence[Change | None] = ()
    skipped: Mapping[str, SkippedSince] = field(default_factory=dict)
    look_again: bool = False
    is_any_left: bool = False


@dataclass(frozen=True)
class AssignmentRound:
    """A round for the workers that ask (`asking`, each with the name of its device), with all other known workers."""

    asking: Sequence[tuple[Worker, str]]
    others: Collection[Worker]
    rules: Rules
    skipped: Mapping[str, SkippedSince]
    lease_ms: int
    prices: Mapping[str, float]  # by pool

    def apply(self, conn: Connection) -> Outcome:
        now = now_ms()
        heads, left = self._heads(conn, now)
        if not heads:
            return Outcome()
        busy = {worker.id for worker, _ in self.asking if not worker.idle}
        heads = [as_kept(head, now, busy) for head in heads]
        unpaid = accounts.out_of_credit(conn, {head.account_id for head in heads if head.has_credit_limit})
        # A recalled run had its place on a GPU while there was credit.
        over = [head.id for head in heads if head.account_id in unpaid and head.kept_for is None]
        ended = _end_unpaid(conn, over, now)
        waiting = [head for head in heads if head.id not in over]
        waiting = within_limits(in_order(waiting, now, self.rules.ageing_ms), left)
        found = match([worker for worker, _ in self.asking], waiting, self.others, now, self.rules, self.skipped)
        assigned = self._assign(conn, found.pairs, now)  # fewer than `pairs` if another server is assigning some
        is_any_left = len(waiting) > len(found.pairs) or len(heads) >= QUEUE_LOOKAHEAD
        return Outcome(assigned, ended, found.skipped, bool(found.pairs) and is_any_left, is_any_left)

    def _heads(self, conn: Connection, now: int) -> tuple[list[WaitingRun], Mapping[str, int]]:
        """(the head of the queue, places left by limit), without runs that only hide others: of those that are full."""
        aged_before, full = (now - self.rules.ageing_ms if self.rules.ageing_ms else 0), queue.NOBODY_FULL
        for _ in range(MOST_LOOKS):
            heads = queue.heads(conn, self._able(), QUEUE_LOOKAHEAD, aged_before=aged_before, full=full)
            left = queue.places_left(conn, heads)
            more = full | queue.Full.of(heads, left)
            if len(heads) < QUEUE_LOOKAHEAD or more == full:
                break
            full = more
        return heads, left

    def _able(self) -> dict[str, set[str]]:
        """The environments, by pool, of which some worker that asks could start a run."""
        able: dict[str, set[str]] = {}
        for kind in {worker.kind for worker, _ in self.asking}:
            able.setdefault(kind.pool, set()).update((kind.environment, *kind.others))
        return able

    def _assign(self, conn: Connection, pairs: list[tuple[Worker, WaitingRun]], now: int) -> list[RunAssigned]:
        devices = {worker.id: device for worker, device in self.asking}
        new = [
            leases.NewLease(waiting.id, worker.id, devices[worker.id], new_secret(), self.prices.get(worker.pool, 0.0))
            for worker, waiting in pairs
        ]
        assigned = leases.assign(conn, new, expires_at=now + self.lease_ms, now=now)
        return [transitions.assigned(conn, run, now) for run in assigned]


def _end_unpaid(conn: Connection, run_ids: list[str], now: int) -> list[Change | None]:
    found = [run for run_id in run_ids if (run := runs.get_any(conn, run_id))]
    return [transitions.ended(conn, run, EndReason.INSUFFICIENT_CREDIT, now) for run in found]
