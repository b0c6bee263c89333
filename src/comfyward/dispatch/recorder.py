"""Takes what workers report: each report is guarded by the lease, and a repeated one changes nothing."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection

from comfyward.dispatch import changes
from comfyward.dispatch.blobs import Blobs
from comfyward.dispatch.changes import Left
from comfyward.errors import InvalidRequest, StaleLease
from comfyward.files.objects import Blob
from comfyward.ids import new_uuid
from comfyward.runs.event import Event, EventType, Publish
from comfyward.runs.run import EndReason, Run, State
from comfyward.store import files, queue
from comfyward.store.db import Database, now_ms
from comfyward.worker.protocol import (
    Downloading,
    Ended,
    NodeProgress,
    NodesCached,
    OutputFile,
    PreviewFrame,
    Released,
    Report,
    Reports,
    Started,
)


class Recorder:
    """Reports become guarded transitions and events."""

    def __init__(
        self,
        db: Database,
        blobs: Blobs,
        publish: Publish,
        queue_changed: Callable[[], None],
        announced: Callable[[], None],
        run_over: Callable[[Run], None],
        prices: Mapping[str, float],
    ) -> None:
        self._db, self._blobs, self._publish, self._prices = db, blobs, publish, prices
        self._queue_changed, self._announced, self._run_over = queue_changed, announced, run_over

    async def record(self, message: Reports) -> None:
        """Raises StaleLease when the lease is no longer its holder's."""
        if message.staged:
            self._publish(await self._db.write(changes.staged, message.lease, now_ms()))
        numbered = [report for report in message.reports if isinstance(report, Started | Ended | Released)]
        if not numbered:
            run_id, account_id = await self._db.look(_run_under, message.lease)
            return self._publish(_live(run_id, account_id, message.reports))
        blobs = await self._blobs.store(_enclosed(numbered))
        run, events = await self._db.write(_apply, message.lease, numbered, self._prices, blobs)
        self._publish(_in_order(_live(run.id, run.account_id, message.reports), events))
        if any(event.data.get("state") == State.QUEUED for event in events):
            self._queue_changed()
        if events and run.webhook is not None:
            self._announced()
        if run.state.is_final:
            self._run_over(run)


def _in_order(live: Sequence[Event], stored: Sequence[Event]) -> list[Event]:
    """What happened inside ComfyUI comes between the run's start and its end."""
    begins = [event for event in stored if event.data.get("state") == State.RUNNING]
    return [*begins, *live, *(event for event in stored if event not in begins)]


def _enclosed(reports: Sequence[Report]) -> dict[str, tuple[str, bytes]]:
    """Small outputs come inside the report: one call instead of one for each."""
    ended = [report for report in reports if isinstance(report, Ended)]
    files = [file for report in ended for file in (*report.outputs, *report.previews)]
    return {file.digest: (file.name, file.data) for file in files if file.data is not None}


def _run_under(conn: Connection, lease: str) -> tuple[str, str]:
    found = queue.run_under(conn, lease)
    if found is None:
        raise StaleLease("The lease is over or was given to another worker.")
    return found


def _apply(
    conn: Connection,
    lease: str,
    reports: Sequence[Started | Ended | Released],
    prices: Mapping[str, float],
    blobs: Sequence[Blob] = (),
) -> tuple[Run, list[Event]]:
    now = now_ms()
    run, taken, events = _begun(conn, lease, reports[0], now)
    for blob in blobs:
        files.add_blob(conn, blob.digest, blob.sha256, blob.size, now, blob.name)
    for report in reports:
        if report.seq > taken and not isinstance(report, Started):
            events += _apply_one(conn, run, report, prices, now)
            return _left_by(run, report, events, now), events  # the lease is over
    return run, events


def _begun(conn: Connection, lease: str, first: Started | Ended | Released, now: int) -> tuple[Run, int, list[Event]]:
    """The run under a lease, begun when the first report says so, with the number of the last report taken."""
    if isinstance(first, Started) and (begun := changes.started(conn, lease, first.seq, now)):
        return begun[0], first.seq, [begun[1]]
    found = queue.leased(conn, lease)
    if found is None:
        raise StaleLease("The lease is over or was given to another worker.")
    return *found, []


def _left_by(run: Run, report: Ended | Released, events: Sequence[Event], now: int) -> Run:
    """The run as the last report leaves it, when that has ended it."""
    if not events or not events[-1].is_last or isinstance(report, Released):
        return run
    state, reason = State(events[-1].data["state"]), EndReason(events[-1].data["end_reason"])
    return dataclasses.replace(run, state=state, end_reason=reason, run_time_ms=report.run_time_ms, finished_at=now)


def _apply_one(
    conn: Connection, run: Run, report: Ended | Released, prices: Mapping[str, float], now: int
) -> list[Event]:
    match report:
        case Released():
            return changes.given_back(conn, run, now)
        case Ended():
            left = Left(
                outputs=_kept(conn, report.outputs) if report.reason is EndReason.COMPLETED else [],
                previews=_kept(conn, report.previews),
                shown=msgspec.json.encode(report.shown).decode() if report.shown else None,
                failure=msgspec.to_builtins(report.failure) if report.failure else None,
                run_time_ms=report.run_time_ms,
                log=report.log.replace("\0", ""),  # which PostgreSQL does not keep
            )
            return changes.ended(conn, run, report.reason, now, prices=prices, left=left)


def _kept(conn: Connection, reported: Sequence[OutputFile]) -> list[dict[str, Any]]:
    """Files as the row keeps them, each with an id. Raises InvalidRequest when one was not uploaded."""
    for file in reported:
        if file.data is None and not files.has_blob(conn, file.digest):
            raise InvalidRequest(f"The output '{file.name}' was reported but never uploaded.")
    return [{"id": new_uuid(), **msgspec.to_builtins(msgspec.structs.replace(file, data=None))} for file in reported]


def _live(run_id: str, account_id: str, reports: Sequence[Report]) -> list[Event]:
    told = (_told(report) for report in reports)
    return [Event(run_id, account_id, *each) for each in told if each is not None]


def _told(report: Report) -> tuple[EventType, dict[str, Any]] | None:
    match report:
        case Downloading(path, done, total):
            return EventType.DOWNLOAD, {"path": path, "done": done, "total": total}
        case NodesCached(nodes):
            return EventType.CACHED, {"nodes": nodes}
        case NodeProgress(node, value, maximum, done, total):
            data = {"node": node, "value": value, "max": maximum, "nodes_done": done, "nodes_total": total}
            return EventType.PROGRESS, data
        case PreviewFrame(node, content_type, data_bytes):
            data_url = f"data:{content_type};base64,{base64.b64encode(data_bytes).decode()}"
            return EventType.PREVIEW, {"node": node, "image": data_url}
        case _:
            return None
