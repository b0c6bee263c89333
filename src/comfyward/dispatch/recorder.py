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
from comfyward.errors import InvalidRequest, StaleLease
from comfyward.files.objects import Blob
from comfyward.runs.event import Event, EventType
from comfyward.runs.run import EndReason, Run, State
from comfyward.store import files, runs
from comfyward.store.db import Database, now_ms
from comfyward.worker.protocol import (
    Downloading,
    Ended,
    NodeProgress,
    PreviewFrame,
    Released,
    Report,
    Reports,
    Started,
)

Publish = Callable[[Sequence[Event]], None]


class Recorder:
    """Reports become guarded transitions and events."""

    def __init__(
        self,
        db: Database,
        blobs: Blobs,
        publish: Publish,
        queue_changed: Callable[[], None],
        announced: Callable[[], None],
        prices: Mapping[str, float],
    ) -> None:
        self._db, self._blobs, self._publish, self._prices = db, blobs, publish, prices
        self._queue_changed, self._announced = queue_changed, announced

    async def record(self, message: Reports) -> None:
        """Raises StaleLease when the lease is no longer its holder's."""
        numbered = [report for report in message.reports if isinstance(report, Started | Ended | Released)]
        if numbered:
            async with self._blobs.storing(_enclosed(numbered)) as blobs:
                run, events = await self._db.write(_apply, message.lease, numbered, self._prices, blobs)
        else:
            run, events = await self._db.read(_run_of, message.lease), []
        self._publish([*_live(run.id, message.reports), *events])
        if any(event.data.get("state") == State.QUEUED for event in events):
            self._queue_changed()
        if events and run.webhook is not None:
            self._announced()


def _enclosed(reports: Sequence[Report]) -> dict[str, bytes]:
    """Small outputs come inside the report: one call instead of one for each."""
    outputs = [output for report in reports if isinstance(report, Ended) for output in report.outputs]
    return {output.digest: output.data for output in outputs if output.data is not None}


def _run_of(conn: Connection, lease: str) -> Run:
    found = runs.leased(conn, lease)
    if found is None:
        raise StaleLease("The lease is over or was given to another worker.")
    return found[0]


def _apply(
    conn: Connection,
    lease: str,
    reports: Sequence[Started | Ended | Released],
    prices: Mapping[str, float],
    blobs: Sequence[Blob] = (),
) -> tuple[Run, list[Event]]:
    found = runs.leased(conn, lease)
    if found is None:
        raise StaleLease("The lease is over or was given to another worker.")
    run, taken = found
    events: list[Event] = []
    now = now_ms()
    for blob in blobs:
        files.add_blob(conn, blob.digest, blob.sha256, blob.size, now)
    for report in reports:
        if report.seq <= taken:
            continue
        events += _apply_one(conn, run, report, prices, now)
        if not isinstance(report, Started):
            break  # the lease is over
        runs.take_report(conn, lease, report.seq)
        run = dataclasses.replace(run, state=State.RUNNING, started_at=now)
    return run, events


def _apply_one(
    conn: Connection, run: Run, report: Started | Ended | Released, prices: Mapping[str, float], now: int
) -> list[Event]:
    match report:
        case Started():
            return changes.started(conn, run, now)
        case Released():
            return changes.given_back(conn, run, now)
        case Ended():
            return changes.ended(
                conn,
                run,
                report.reason,
                now,
                prices=prices,
                failure=msgspec.to_builtins(report.failure) if report.failure else None,
                outputs=_outputs(conn, report),
                run_time_ms=report.run_time_ms,
                log=report.log,
            )


def _outputs(conn: Connection, report: Ended) -> list[dict[str, Any]]:
    """The outputs as the row keeps them. Raises InvalidRequest when one was not uploaded."""
    if report.reason is not EndReason.COMPLETED:
        return []
    for output in report.outputs:
        if output.data is None and not files.has_blob(conn, output.digest):
            raise InvalidRequest(f"The output '{output.name}' was reported but never uploaded.")
    return [msgspec.to_builtins(msgspec.structs.replace(output, data=None)) for output in report.outputs]


def _live(run_id: str, reports: Sequence[Report]) -> list[Event]:
    events = []
    for report in reports:
        match report:
            case Downloading(path, done, total):
                events.append(Event(run_id, EventType.DOWNLOAD, {"path": path, "done": done, "total": total}))
            case NodeProgress(node, value, maximum, done, total):
                data = {"node": node, "value": value, "max": maximum, "nodes_done": done, "nodes_total": total}
                events.append(Event(run_id, EventType.PROGRESS, data))
            case PreviewFrame(node, content_type, data_bytes):
                data_url = f"data:{content_type};base64,{base64.b64encode(data_bytes).decode()}"
                events.append(Event(run_id, EventType.PREVIEW, {"node": node, "image": data_url}))
            case _:
                continue
    return events
