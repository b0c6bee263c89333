"""Takes what workers say of environments that they were asked to build.

Only environments that a revision has a lock for are heard of, so what a worker can leave here is bounded by what admins
made. A worker speaks for itself alone: its rows name it, its host, and its token.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable, Sequence

import msgspec
from sqlalchemy import Connection

from comfyward.dispatch.revisions import Revisions
from comfyward.errors import Forbidden
from comfyward.runs.log import on_one_line, plain
from comfyward.store import learnings, trials, workers
from comfyward.store.db import Database, now_ms
from comfyward.store.notices import Wake
from comfyward.store.tokens import WorkerToken
from comfyward.store.trials import FAILED, READY, Trial
from comfyward.store.workers import Holder, WorkerRow
from comfyward.worker.environment_reports import EnvironmentReport, EnvironmentState
from comfyward.worker.environment_reports import Trial as Told
from comfyward.worker.message_bounds import MAX_READY

SELF_PROMOTIONS = "self-promotions"
"""The loop that is woken on other servers."""


class Trials:
    """Stores what workers report."""

    def __init__(self, db: Database, revisions: Revisions) -> None:
        self._db, self._revisions = db, revisions
        self.ready_hint = asyncio.Event()
        """Set when an environment has become ready on a worker."""

    async def joined(self, worker: WorkerRow, token: WorkerToken, ready: Sequence[str]) -> None:
        """Stores which environments a joining worker has ready."""
        found = [_trial(worker, token, EnvironmentReport(digest, EnvironmentState.READY)) for digest in ready]
        await self._db.write(_set_ready, worker, found[:MAX_READY])
        self._revisions.reported()

    async def reported(self, worker_id: str, token: WorkerToken, reports: Sequence[EnvironmentReport]) -> None:
        """Stores what a heartbeat says."""
        if not await self._db.write(_put, worker_id, token, reports):
            return  # they tell of progress alone
        self._revisions.reported()
        if any(report.state == READY for report in reports):
            self.ready_hint.set()
            self._db.notices.send(Wake(SELF_PROMOTIONS))

    async def tried(self, token: WorkerToken, session: str, digest: str, told: Told) -> None:
        """Stores the report of a trial. Raises Forbidden if no worker of the session can have made it."""
        if not await self._db.write(_put_report, token, session, digest, told):
            raise Forbidden("No worker with this secret was asked to try this environment.")
        self._revisions.reported()


def _put(conn: Connection, worker_id: str, token: WorkerToken, reports: Iterable[EnvironmentReport]) -> bool:
    """Returns True if the state of an environment has changed."""
    worker = workers.get(conn, worker_id)
    if worker is None:
        return False
    known = [report for report in reports if trials.is_locked(conn, report.digest, worker.target)]
    changed = [trials.put(conn, _trial(worker, token, report)) for report in known]
    return any(changed)


def _set_ready(conn: Connection, worker: WorkerRow, ready: Iterable[Trial]) -> None:
    learnings.give_back(conn, worker.id)
    known = [trial for trial in ready if trials.is_locked(conn, trial.digest, worker.target)]
    trials.set_ready(conn, known, worker.id)


def _put_report(conn: Connection, token: WorkerToken, session: str, digest: str, told: Told) -> bool:
    senders = workers.of_session(conn, Holder(token.hash, session))
    able = [worker for worker in senders if trials.is_locked(conn, digest, worker.target)]
    text = msgspec.json.encode(_plain(told)).decode()
    picture = None if told.picture is None else base64.b64encode(told.picture).decode()
    state = EnvironmentState(READY if told.ready else FAILED)
    for worker in sorted(able, key=lambda each: each.started_at)[-1:]:  # the session's process goes by its last id
        report = EnvironmentReport(digest, state, message=told.message, hint=told.hint)
        trials.put_report(conn, _trial(worker, token, report), text, picture)
    return bool(able)


def _plain(told: Told) -> Told:
    """A trial without its picture and without control characters, before JSON hides them in escapes."""
    packs = [
        msgspec.structs.replace(
            pack,
            folder=on_one_line(pack.folder),
            error=plain(pack.error),
            classes=[on_one_line(name) for name in pack.classes],
            writes=[on_one_line(name) for name in pack.writes],
        )
        for pack in told.packs
    ]
    texts = {"message": plain(told.message), "hint": plain(told.hint)}
    writes = [on_one_line(name) for name in told.writes]
    return msgspec.structs.replace(told, picture=None, packs=packs, writes=writes, **texts)


def _trial(worker: WorkerRow, token: WorkerToken, report: EnvironmentReport) -> Trial:
    return Trial(
        worker_id=worker.id,
        digest=report.digest,
        token=token.hash,
        is_shared=token.is_shared,
        host=on_one_line(worker.host),
        target=worker.target,
        state=report.state,
        changed_at=now_ms(),
        step=on_one_line(report.step),
        part=report.part,
        message=on_one_line(report.message),
        hint=plain(report.hint),
    )
