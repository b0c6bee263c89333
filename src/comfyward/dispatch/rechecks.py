"""Checks queued runs again whose environment is gone from all workers of their pool.

Such a run gets the revision that its environment's name stands for now, if its graph fits that; else it ends, and says
why. A run whose environment workers are still building waits. If it has failed at all of them, the run waits for an
admin to mend that, and says so; after a while it ends.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

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
from comfyward.runs.run import DEFAULT_ENVIRONMENT, EndReason, Run
from comfyward.store import queue, runs
from comfyward.store.db import Database, now_ms
from comfyward.store.rows import text_of
from comfyward.workflows.catalog import Catalog
from comfyward.workflows.graph import parse_graph

log = logging.getLogger(__name__)

AT_ONCE = 50  # runs of a group in a tick
SOON_S = 3.0  # while runs of other environments than the default one are queued


@dataclass(frozen=True)
class Group:
    """The queued runs of a pool that are bound to an environment, by its key, and asked for it under one name."""

    pool: str
    key: str
    name: str


@dataclass(frozen=True)
class _Move:
    """The runs of a group get another revision if they fit one of its catalogs."""

    bound: Bound
    catalogs: Sequence[Catalog | None]


class Rechecks(Loop):
    """queued → queued in another revision, or failed."""

    name = "rechecks"
    interval_s = 15.0

    def __init__(
        self, db: Database, revisions: Revisions, bindings: Bindings, publisher: Publisher, mend_s: float
    ) -> None:
        """`mend_s` is how long runs wait for an environment that no worker of their pool can have."""
        super().__init__(revisions.changed_hint, db.is_leader)
        self._db, self._revisions, self._bindings, self._publisher = db, revisions, bindings, publisher
        self._fitting = Fitting(db)
        self._mend_s = mend_s
        self._hopeless_since: dict[Group, float] = {}

    async def tick(self) -> dict[str, int]:
        queued = await self._db.read(queue.queued_by_environment)
        if queued.keys() <= {DEFAULT_ENVIRONMENT}:
            self.interval_s = self.__class__.interval_s
            self._hopeless_since.clear()
            return {}
        self.interval_s = SOON_S
        situation = await self._revisions.look()
        groups = [
            Group(pool, key, name)
            for pool, key in gone(situation)
            for name in await self._db.read(queue.names_of, pool, key)
        ]
        self._hopeless_since = {each: since for each, since in self._hopeless_since.items() if each in groups}
        changed = [await self._checked(group, situation) for group in groups]
        if any(count == AT_ONCE for count in changed):
            self.wake()  # there may be more of them
        return {"checked again": sum(changed)}

    async def _checked(self, group: Group, situation: Situation) -> int:
        """Checks the first runs of a group. Returns the number of those that were changed."""
        changes: list[Change] = []
        try:
            decided = await self._decided(group, situation)
            for run in await self._runs_of(group) if decided is not None else ():
                changes += await self._changed(run, decided)
        except Exception:  # other groups are checked all the same
            log.exception("runs of %s could not be checked again", group.name, extra={"action": "recheck_failed"})
        self._publisher.publish(*changes)
        return len(changes)

    async def _runs_of(self, group: Group) -> list[Run]:
        return await self._db.read(queue.of_environment, group.pool, group.key, group.name, AT_ONCE)

    async def _changed(self, run: Run, decided: _Move | InvalidEnvironment | None) -> list[Change]:
        try:
            match decided:
                case _Move(bound, catalogs):
                    change = await self._moved(run, bound, catalogs)
                case InvalidEnvironment() as error:
                    change = await self._end(run, EndReason.VALIDATION, error)
                case None:
                    change = None
        except Exception:  # others are checked all the same
            log.exception("run %s could not be checked again", run.id, extra={"action": "recheck_failed"})
            return []
        return [] if change is None else [change]

    async def _decided(self, group: Group, situation: Situation) -> _Move | InvalidEnvironment | None:
        """The fate of the runs of a group: another revision, their end, or nothing yet."""
        try:
            situation.check(group.name)
        except InvalidEnvironment as error:
            return error
        try:
            if situation.may_have(group.key, group.pool) and group.key in _keys(situation, group):
                self._hopeless_since.pop(group, None)
                return None  # a worker will have it
            return _Move(*await self._bindings.bind(group.name, group.pool))
        except InvalidEnvironment as error:
            if any(situation.may_have(key, group.pool) for key in (group.key, *_keys(situation, group))):
                self._hopeless_since.pop(group, None)
                return None  # its own, or the other one, which nobody has yet
            return error if self._has_waited(group) else None

    def _has_waited(self, group: Group) -> bool:
        """True if a group has been without hope for so long that nobody will mend it."""
        now = time.monotonic()
        return now - self._hopeless_since.setdefault(group, now) >= self._mend_s

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


def _keys(situation: Situation, group: Group) -> list[str]:
    """The environments that a group's name stands for in its pool; none if no present worker can have them."""
    try:
        return [bound.key for bound in situation.bound(group.name, group.pool)]
    except InvalidEnvironment:
        return []


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
