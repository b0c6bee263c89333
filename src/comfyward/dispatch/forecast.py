"""Forecasts of queued runs: their place in the queue, why they wait, and when they are expected to start."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from comfyward.dispatch.explanation import Explanation, QueueStatus, explain
from comfyward.dispatch.placement import Rules
from comfyward.dispatch.revisions import Bound, Revisions
from comfyward.runs.run import DEFAULT_ENVIRONMENT, Run, State
from comfyward.store import fleets, leases, queue, runs, trials, workers
from comfyward.store.db import Database, now_ms

RECENT_MS = 24 * 3600 * 1000


@dataclass(frozen=True)
class QueueForecast:
    """The place of a queued run (from 1), and why it waits."""

    place: int
    explanation: Explanation


class QueueForecasts:
    """Forecasts from the rows and the rules of placement. `local_pools` are those of this server's own workers."""

    def __init__(self, db: Database, revisions: Revisions, rules: Rules, local_pools: Collection[str]) -> None:
        self._db, self._revisions, self._rules, self._local_pools = db, revisions, rules, local_pools

    async def of(self, run: Run) -> QueueForecast | None:
        """The forecast of a run; None if it is not queued."""
        if run.state is not State.QUEUED:
            return None
        status = await self._db.read(_queue_status, run, self._rules, self._local_pools)
        if not status.is_ready and (problem := await self._revisions.problem(_bound(run), run.pool)) is not None:
            status = replace(status, environment_problem=f"{problem} If nobody mends that, the run ends.")
        return QueueForecast(status.place, explain(status))


def _bound(run: Run) -> Bound:
    return Bound(run.environment, run.environment_name, run.environment_revision)


def _queue_status(conn: Connection, run: Run, rules: Rules, local_pools: Collection[str]) -> QueueStatus:
    now = now_ms()
    present = [worker for worker in workers.find(conn, now - workers.PRESENT_MS) if worker.pool == run.pool]
    pools = [fleet.pools[run.pool] for fleet in fleets.find(conn, now - workers.PRESENT_MS) if run.pool in fleet.pools]
    models, (_, busy) = set(run.models), leases.held(conn)
    return QueueStatus(
        pool=run.pool,
        place=runs.queue_position(conn, run),
        workers=len(present),
        busy=sum(worker.id in busy for worker in present),
        is_served=bool(present or pools) or run.pool in local_pools or run.pool in workers.known_pools(conn),
        limit=sum(int(pool["max"]) for pool in pools) if pools else None,
        recent_ms=queue.recent_durations(conn, run.pool, now - RECENT_MS),
        account_is_full=_is_full(conn, run),
        warm_workers=_warm_workers(conn, run, rules, now),
        has_models=bool(models),
        waits_for_warm_ms=rules.affinity_wait_ms - (now - run.queued_at),
        is_ready=_is_ready(conn, run, now),
        pool_problem=next((str(pool["problem"]) for pool in pools if pool["problem"]), None),
    )


def _warm_workers(conn: Connection, run: Run, rules: Rules, now: int) -> int:
    """The number of workers that hold the run's models, for its account if each has a ComfyUI of its own."""
    held = [held for held in workers.holdings(conn, now - workers.PRESENT_MS) if held.pool == run.pool]
    held = [each for each in held if each.environment == run.environment]
    if rules.isolated:
        held = [each for each in held if each.account_id == run.account_id]
    return sum(each.warm.issuperset(run.models) for each in held)


def _is_ready(conn: Connection, run: Run, now: int) -> bool:
    """True if a present worker of the pool has the run's environment."""
    if run.environment == DEFAULT_ENVIRONMENT:
        return True
    return trials.is_ready(trials.present(conn, now - workers.PRESENT_MS), run.environment, run.pool)


def _is_full(conn: Connection, run: Run) -> bool:
    """True if the run's account or key has reached its limit of concurrent runs."""
    waiting = queue.waiting(conn, run.id)
    return waiting is not None and any(left <= 0 for left in queue.places_left(conn, [waiting]).values())
