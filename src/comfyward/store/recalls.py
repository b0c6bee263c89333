"""Operations on staged runs that are taken back from their workers for idle ones, across accounts."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
from sqlalchemy import Connection, Text, and_, bindparam, column, or_, select, update

from comfyward.paths import MODELS_ROOT
from comfyward.runs.run import State
from comfyward.runs.staged_run import BroughtFile, StagedRun
from comfyward.runs.waiting_run import name_of_file
from comfyward.store.queue import WAITING_COLUMNS, waiting_run
from comfyward.store.schema import IS_STAGED, runs, workers
from comfyward.store.statement import Statement, each_of, list_of

MOST_STAGED = 50  # of a pool, those that wait longest

_ahead = runs.alias("ahead")
_IS_BEHIND = (
    select(_ahead.c.id)
    .where(_ahead.c.worker_id == runs.c.worker_id, _ahead.c.lease.is_not(None), _ahead.c.state == State.RUNNING)
    .correlate(runs)
    .exists()
)
_STAGED = Statement(
    select(
        *WAITING_COLUMNS,
        runs.c.lease,
        runs.c.worker_id,
        runs.c.staged_at,
        workers.c.host,
    )
    .join(workers, workers.c.id == runs.c.worker_id)
    .where(IS_STAGED, runs.c.pool == bindparam("pool"), _IS_BEHIND)
    .where(runs.c.recalled_at.is_(None), runs.c.cancel_requested_at.is_(None))
    # Back in the queue, a run whose deadline has passed would end.
    .where(or_(runs.c.start_by.is_(None), runs.c.start_by > bindparam("start_by")))
    .order_by(runs.c.staged_at)
    .limit(bindparam("most"))
)
# Not for ever: a worker of an earlier version gives nothing back.
_IS_ON_ITS_WAY = and_(
    IS_STAGED,
    runs.c.pool == workers.c.pool,
    runs.c.recalled_for == workers.c.id,
    runs.c.recalled_at > bindparam("asked_after"),
)
_ASKING = each_of(bindparam("asking", type_=Text)).table_valued(column("value", Text), name="named")
_IDLE = Statement(
    select(workers.c.id, workers.c.host)
    .join(_ASKING, workers.c.id == _ASKING.c.value)
    .where(~select(runs.c.id).where(runs.c.worker_id == workers.c.id, runs.c.lease.is_not(None)).exists())
    .where(~select(runs.c.id).where(_IS_ON_ITS_WAY).exists())
)
_RECALL = Statement(
    update(runs)
    .where(runs.c.lease == bindparam("held"), IS_STAGED)
    .where(runs.c.recalled_at.is_(None), runs.c.cancel_requested_at.is_(None))
    .values(recalled_at=bindparam("now"), recalled_for=bindparam("worker"))
)


def staged(conn: Connection, pools: Collection[str], start_by: int) -> list[StagedRun]:
    """The runs of some pools that wait for the GPU of a worker that executes another run.

    Not those that are recalled or cancelled, or whose deadline is over at `start_by` (ms).
    """
    return [_staged_run(row) for pool in pools for row in _STAGED(conn, pool=pool, start_by=start_by, most=MOST_STAGED)]


def idle(conn: Connection, asking: Collection[str], asked_after: int) -> dict[str, str]:
    """The hosts, by the worker's id, of those of some workers that hold no run, and for whom none is on its way.

    A recall of before `asked_after` (ms) is no longer waited for.
    """
    return {row[0]: row[1] for row in _IDLE(conn, asking=list_of(asking), asked_after=asked_after)}


def recall(conn: Connection, lease: str, worker_id: str, now: int) -> bool:
    """Asks the holder of a lease for its staged run, for a worker. False if it has moved on, or is recalled already."""
    return _RECALL(conn, held=lease, worker=worker_id, now=now).rowcount == 1


def _staged_run(row: Any) -> StagedRun:
    files = [
        BroughtFile(name_of_file(source), path.startswith(MODELS_ROOT), source.get("size"))
        for path, source in msgspec.json.decode(row.files).items()
    ]
    return StagedRun(waiting_run(row), row.lease, row.worker_id, row.host, row.staged_at, files)
