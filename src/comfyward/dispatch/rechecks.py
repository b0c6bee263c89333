"""Checks queued runs again whose environment is gone from all workers of their pool.

Such a run gets the revision that its environment's name stands for now, if its graph fits that; else it ends, and says
why. A run whose environment workers are still building waits.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from comfyward.dispatch import transitions
from comfyward.dispatch.bindings import Bindings
from comfyward.dispatch.fitting import Fitting
from comfyward.dispatch.publisher import Publisher
from comfyward.dispatch.revisions import Bound, Revisions, Situation
from comfyward.dispatch.transitions import AttemptResult
from comfyward.errors import InvalidEnvironment, InvalidRequest
from comfyward.loop import Loop
from comfyward.runs.change import Change, RunMoved
from comfyward.runs.failure import Failure
from comfyward.runs.files import source_from_row
from comfyward.runs.run import EndReason, Run
from comfyward.store import queue, runs
from comfyward.store.db import Database, now_ms
from comfyward.store.rows import text_of
from comfyward.workflows.catalog import Catalog
from comfyward.workflows.graph import parse_graph

log = logging.getLogger(__name__)

AT_ONCE = 50  # of each pool and environment in a tick


class Rechecks(Loop):
    """queued → queued in another revision, or failed."""

    name = "rechecks"
    interval_s = 3.0

    def __init__(self, db: Database, revisions: Revisions, bindings: Bindings, publisher: Publisher) -> None:
        super().__init__(is_leader=db.is_leader)
        self._db, self._revisions, self._bindings, self._publisher = db, revisions, bindings, publisher
        self._fitting = Fitting(db)

    async def tick(self) -> dict[str, int]:
        situation = await self._revisions.look()
        changes: list[Change] = []
        for pool, key in gone(situation):
            for run in await self._db.read(queue.of_environment, pool, key, AT_ONCE):
                try:
                    if (change := await self._checked(run, situation)) is not None:
                        changes.append(change)
                except Exception:  # others are checked all the same
                    log.exception("run %s could not be checked again", run.id, extra={"action": "recheck_failed"})
        self._publisher.publish(*changes)
        return {"checked again": len(changes)}

    async def _checked(self, run: Run, situation: Situation) -> Change | None:
        try:
            situation.check(run.environment_name)
        except InvalidEnvironment as error:
            return await self._end(run, EndReason.VALIDATION, error)
        try:
            if run.environment in [bound.key for bound in situation.bound(run.environment_name, run.pool)]:
                return None  # a worker will have it
            bound, catalogs = await self._bindings.bind(run.environment_name, run.pool)
        except InvalidEnvironment:
            return None  # the workers that are here now cannot have it, or nobody has the other one yet
        return await self._moved(run, bound, catalogs)

    async def _moved(self, run: Run, bound: Bound, catalogs: Sequence[Catalog | None]) -> Change | None:
        files = {path: source_from_row(row) for path, row in run.files.items()}
        graph = parse_graph(msgspec.json.decode(run.prompt))
        try:
            fitted = await self._fitting.fit(run.account_id, graph, len(run.prompt), files, catalogs)
        except InvalidRequest as error:
            is_class = error.details.get("type") == "missing_node_type"
            reason = EndReason.MISSING_NODE if is_class else EndReason.VALIDATION
            return await self._end(run, reason, _explained(error, run, bound))
        prompt = text_of(fitted.graph.prompt)
        moved = await self._db.write(queue.rebind, run, bound.key, bound.revision, prompt, now_ms())
        return RunMoved(run.pool) if moved else None

    async def _end(self, run: Run, reason: EndReason, error: InvalidRequest) -> Change | None:
        result = AttemptResult(failure=Failure(error.message, error.hint, details=error.details))
        return await self._db.write(_end, run.id, run.environment, reason, result)


def gone(situation: Situation) -> list[tuple[str, str]]:
    """(pool, key) of queued runs that no present worker of their pool could start. A pool without workers waits."""
    return [
        (pool, key)
        for pool, keys in situation.queued.items()
        for key in keys
        if pool in situation.targets and not situation.has_ready(key, pool)
    ]


def _explained(error: InvalidRequest, run: Run, bound: Bound) -> InvalidRequest:
    """The error with the revision that has what the run lacks, and the one that has it not."""
    name = run.environment_name.partition("@")[0]
    before, after = f"{name}@{run.environment_revision}", f"{name}@{bound.revision}"
    if error.details.get("type") == "missing_node_type":
        class_type = error.details["class_type"]
        message = f"The run needs the class {class_type} of {before}, which {after} no longer has."
    else:
        message = f"The run was checked with {before}, and does not fit {after}: {error.message}"
    return InvalidRequest(message, hint=error.hint, **error.details)


def _end(conn: Connection, run_id: str, key: str, reason: EndReason, result: AttemptResult) -> Change | None:
    run = runs.get_any(conn, run_id)
    if run is None or run.lease is not None or run.state.is_final or run.environment != key:
        return None
    return transitions.ended(conn, run, reason, now_ms(), result=result)
