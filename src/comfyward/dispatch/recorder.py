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
from comfyward.runs.log import plain
from comfyward.runs.run import EndReason, Run, State
from comfyward.store import files, queue
from comfyward.store.db import Database, now_ms
from comfyward.worker.protocol import (
    Downloading,
    Ended,
    NodeProgress,
    NodesCached,
    Numbered,
    OutputFile,
    PreviewFrame,
    Produced,
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
        numbered = [report for report in message.reports if isinstance(report, Started | Produced | Ended | Released)]
        if not numbered:
            run_id, account_id = await self._db.look(_run_under, message.lease)
            return self._publish(_live(run_id, account_id, message.reports))
        blobs = await self._blobs.store(_enclosed(numbered))
        run, stored = await self._db.write(_apply, message.lease, numbered, self._prices, blobs)
        self._publish(_in_order(run, message.reports, stored))
        events = [event for each in stored.values() for event in each]
        if any(event.data.get("state") == State.QUEUED for event in events):
            self._queue_changed()
        if run.webhook is not None and any(event.type is EventType.STATUS for event in events):
            self._announced()
        if run.state.is_final:
            self._run_over(run)


Stored = Mapping[int, Sequence[Event]]
"""The stored events of reports, by their numbers."""


def _in_order(run: Run, reports: Sequence[Report], stored: Stored) -> list[Event]:
    """What happened inside ComfyUI comes between the run's start and its end."""
    first = [event for report in reports if isinstance(report, Started) for event in stored.get(report.seq, ())]
    rest: list[Event] = []
    for report in reports:
        if isinstance(report, Produced | Ended | Released):
            rest += stored.get(report.seq, ())
        if isinstance(report, Produced) and report.seq in stored:
            rest += _shown(run, report)
        rest += _live(run.id, run.account_id, [report])
    return [*first, *rest]


def _shown(run: Run, report: Produced) -> list[Event]:
    """What nodes show is told when its files can be fetched."""
    shown = report.shown.get("outputs") or {}
    meta = report.shown.get("meta") or {}
    return [
        Event(
            run.id,
            run.account_id,
            EventType.SHOWN,
            {"node": node, "display_node": (meta.get(node) or {}).get("display_node", node), "shown": result},
        )
        for node, result in shown.items()
    ]


def _enclosed(reports: Sequence[Report]) -> dict[str, tuple[str, bytes]]:
    """Small outputs come inside the report: one call instead of one for each."""
    left = [report for report in reports if isinstance(report, Produced | Ended)]
    files = [file for report in left for file in (*report.outputs, *report.previews)]
    return {file.digest: (file.name, file.data) for file in files if file.data is not None}


def _run_under(conn: Connection, lease: str) -> tuple[str, str]:
    found = queue.run_under(conn, lease)
    if found is None:
        raise StaleLease("The lease is over or was given to another worker.")
    return found


def _apply(
    conn: Connection,
    lease: str,
    reports: Sequence[Numbered],
    prices: Mapping[str, float],
    blobs: Sequence[Blob] = (),
) -> tuple[Run, dict[int, Sequence[Event]]]:
    now = now_ms()
    run, taken, stored = _begun(conn, lease, reports[0], now)
    for blob in blobs:
        files.add_blob(conn, blob.digest, blob.sha256, blob.size, now, blob.name)
    for report in reports:
        match report:
            case Produced() if report.seq > taken:
                left = _left(conn, report)
                if produced := changes.produced(conn, run, left, taken=taken, report_seq=report.seq, now=now):
                    run, stored[report.seq] = produced
                    taken = report.seq
            case Ended() | Released() if report.seq > taken:
                events = stored[report.seq] = _over(conn, run, report, prices, now)
                return _left_by(run, report, events, now), stored  # the lease is over
            case _:
                continue
    return run, stored


def _begun(conn: Connection, lease: str, first: Numbered, now: int) -> tuple[Run, int, dict[int, Sequence[Event]]]:
    """The run under a lease, begun when the first report says so, with the number of the last report taken."""
    if isinstance(first, Started) and (begun := changes.started(conn, lease, first.seq, now)):
        return begun[0], first.seq, {first.seq: [begun[1]]}
    found = queue.leased(conn, lease)
    if found is None:
        raise StaleLease("The lease is over or was given to another worker.")
    return *found, {}


def _left_by(run: Run, report: Ended | Released, events: Sequence[Event], now: int) -> Run:
    """The run as the last report leaves it, when that has ended it."""
    if not events or not events[-1].is_last or isinstance(report, Released):
        return run
    state, reason = State(events[-1].data["state"]), EndReason(events[-1].data["end_reason"])
    return dataclasses.replace(run, state=state, end_reason=reason, run_time_ms=report.run_time_ms, finished_at=now)


def _over(conn: Connection, run: Run, report: Ended | Released, prices: Mapping[str, float], now: int) -> list[Event]:
    match report:
        case Released():
            return changes.given_back(conn, run, now)
        case Ended():
            return changes.ended(conn, run, report.reason, now, prices=prices, left=_left(conn, report))


def _left(conn: Connection, report: Produced | Ended) -> Left:
    left = Left(
        outputs=_kept(conn, report.outputs),
        previews=_kept(conn, report.previews),
        shown=msgspec.json.encode(report.shown).decode() if report.shown else None,
    )
    if isinstance(report, Produced):
        return left
    return dataclasses.replace(
        left,
        failure=msgspec.to_builtins(report.failure) if report.failure else None,
        run_time_ms=report.run_time_ms,
        log=plain(report.log),
    )


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
        case NodeProgress():
            return EventType.PROGRESS, _progress(report)
        case PreviewFrame(node, content_type, data_bytes):
            data_url = f"data:{content_type};base64,{base64.b64encode(data_bytes).decode()}"
            return EventType.PREVIEW, {"node": node, "image": data_url}
        case _:
            return None


def _progress(report: NodeProgress) -> dict[str, Any]:
    """`done` is how much of the whole graph is; a node that was made at run time says of what it is a part."""
    made = {"display_node": report.display, "parent_node": report.parent, "real_node": report.real}
    within = min(1.0, report.value / report.maximum) if report.maximum > 0 else 0.0
    counted = min(1.0, (report.done + within) / max(1, report.total))  # of a worker that does not say
    return {
        "node": report.node,
        "value": report.value,
        "max": report.maximum,
        "nodes_done": report.done,
        "nodes_total": report.total,
        "done": counted if report.part is None else report.part,
        **({"finished": True} if report.finished else {}),
        **{name: value for name, value in made.items() if value is not None},
    }
