"""The recorder: turns reports of workers into transitions, guarded by the lease. A repeated report changes nothing."""

from __future__ import annotations

import base64
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection

from comfyward.dispatch import transitions
from comfyward.dispatch.blobs import Blobs
from comfyward.dispatch.publisher import Publisher
from comfyward.dispatch.refusals import Refusals
from comfyward.dispatch.transitions import AttemptResult
from comfyward.errors import InvalidRequest, StaleLease
from comfyward.ids import new_uuid
from comfyward.runs.change import Change, RunEnded, RunRequeued, RunStarted, RunWatched
from comfyward.runs.event import Cached, Download, Event, NodeResult, Payload, Preview, Progress
from comfyward.runs.failure import Failure
from comfyward.runs.log import plain
from comfyward.runs.output import Output
from comfyward.runs.run import EndReason, Run
from comfyward.store import blobs, leases
from comfyward.store.db import Database, now_ms
from comfyward.store.rows import text_of
from comfyward.store.statement import Answer, Question
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

MAX_LOG_CHARACTERS = 1 << 19
SHORT_LOG_CHARACTERS = 1 << 13  # made plain on the event loop


class Recorder:
    """Records reports."""

    def __init__(self, db: Database, blobs: Blobs, publisher: Publisher, refusals: Refusals) -> None:
        self._db, self._blobs, self._publisher, self._refusals = db, blobs, publisher, refusals

    async def record(self, message: Reports) -> None:
        """Raises StaleLease if the lease is no longer the worker's."""
        if message.staged:
            self._publisher.publish(await self._db.write(transitions.staged, message.lease, now_ms()))
        numbered = [report for report in message.reports if isinstance(report, Started | Produced | Ended | Released)]
        if not numbered:
            run_id, account_id = await self._db.lookup(_run_under, message.lease)
            return self._publisher.publish(RunWatched(_live(run_id, account_id, message.reports)))
        numbered = [await self._refusals.explained(message.lease, report) for report in numbered]
        first = _beginning(message.lease, numbered[0])
        apply = functools.partial(_apply, lease=message.lease, reports=numbered, change_of=first.change_of)
        run, taken = await self._blobs.write(first.question, apply, _enclosed(numbered))
        self._publisher.publish(*_in_order(run, message.reports, taken))


Taken = Mapping[int, Change]
"""The changes made by new reports, by the number of the report."""


def _in_order(run: Run, reports: Sequence[Report], taken: Taken) -> list[Change]:
    """The changes in order: ComfyUI's events come between the run's start and its end."""
    first = [taken[report.seq] for report in reports if isinstance(report, Started) and report.seq in taken]
    rest: list[Change] = []
    for report in reports:
        if isinstance(report, Produced | Ended | Released) and report.seq in taken:
            rest.append(taken[report.seq])
            live = _node_results(run, report) if isinstance(report, Produced) else []
        else:
            live = _live(run.id, run.account_id, [report])
        if live:
            rest.append(RunWatched(live))
    return [*first, *rest]


def _node_results(run: Run, report: Produced) -> list[Event]:
    """Events for the results of nodes, whose files can be fetched now."""
    shown = _well_formed(report.node_results)
    meta = shown.get("meta", {})
    return [
        Event(
            run.id,
            run.account_id,
            NodeResult(node, str(meta.get(node, {}).get("display_node", node)), result),
        )
        for node, result in shown.get("outputs", {}).items()
    ]


def _well_formed(node_results: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Node results without what no ComfyUI sends: everything is an object by node, in an object."""
    return {
        key: {node: each for node, each in by_node.items() if isinstance(each, dict)}
        for key, by_node in node_results.items()
        if isinstance(by_node, dict)
    }


def _enclosed(reports: Sequence[Report]) -> dict[str, tuple[str, bytes]]:
    """The outputs enclosed in reports, by digest: small ones save a call each."""
    left = [report for report in reports if isinstance(report, Produced | Ended)]
    files = [file for report in left for file in (*report.outputs, *report.previews)]
    return {file.digest: (file.name, file.data) for file in files if file.data is not None}


def _run_under(conn: Connection, lease: str) -> tuple[str, str]:
    found = leases.run_under(conn, lease)
    if found is None:
        raise StaleLease("The lease is over or was given to another worker.")
    return found


_ChangeOf = Callable[[Connection, Answer, int], RunStarted | RunEnded | None]


@dataclass(frozen=True)
class _Beginning:
    """The first statement for reports. `change_of` takes its answer; without it, that is the run under the lease."""

    question: Question
    change_of: _ChangeOf | None = None


def _beginning(lease: str, first: Numbered) -> _Beginning:
    match first:
        case Started():
            return _Beginning(leases.starting(lease, first.seq, now_ms()), transitions.started)
        case Ended(reason=EndReason.COMPLETED) if _is_whole(first):
            result = _result(first, _enclosed_size)
            return _Beginning(transitions.succeeding(lease, first.seq, result, now_ms()), transitions.succeeded)
        case _:
            return _Beginning(leases.asking(lease))


def _is_whole(report: Ended) -> bool:
    """True if a report brings all its files with it: for its result, the database need not be asked."""
    files = (*report.outputs, *report.previews)
    return len(report.log) <= SHORT_LOG_CHARACTERS and all(file.data is not None for file in files)


def _apply(
    conn: Connection, answer: Answer, lease: str, reports: Sequence[Numbered], change_of: _ChangeOf | None
) -> tuple[Run, Taken]:
    now = now_ms()
    run, last, taken = _begun(conn, answer, lease, reports[0].seq, change_of, now)
    if run.state.is_final:
        return run, taken
    for report in reports:
        match report:
            case Produced() if report.seq > last:
                result = _result(report, functools.partial(_size, conn))
                if produced := transitions.produced(conn, run, result, taken=last, report_seq=report.seq, now=now):
                    run, last, taken[report.seq] = produced.run, report.seq, produced
            case Ended() | Released() if report.seq > last:
                if over := _end(conn, run, report, now):
                    taken[report.seq] = over
                return run, taken  # the lease is over
            case _:
                continue
    return run, taken


def _begun(
    conn: Connection, answer: Answer, lease: str, seq: int, change_of: _ChangeOf | None, now: int
) -> tuple[Run, int, dict[int, Change]]:
    """(run under a lease, number of its last report, changes). The first report may have started or ended the run."""
    if change_of is None:
        return *_under(leases.found(answer)), {}
    if (begun := change_of(conn, answer, now)) is not None:
        return begun.run, seq, {seq: begun}
    return *_under(leases.leased(conn, lease)), {}


def _under(found: tuple[Run, int] | None) -> tuple[Run, int]:
    """The run under a lease, with the number of its last report. Raises StaleLease."""
    if found is None:
        raise StaleLease("The lease is over or was given to another worker.")
    return found


def _end(conn: Connection, run: Run, report: Ended | Released, now: int) -> RunEnded | RunRequeued | None:
    match report:
        case Released():
            return transitions.given_back(conn, run, now)
        case Ended():
            result = _result(report, functools.partial(_size, conn))
            if result.run_time_ms is not None and run.assigned_at is not None:  # it is what the account is charged for
                result = dataclasses.replace(result, run_time_ms=min(result.run_time_ms, now - run.assigned_at))
            return transitions.ended(conn, run, report.reason, now, result=result)


def _result(report: Produced | Ended, size_of: Callable[[OutputFile], int]) -> AttemptResult:
    result = AttemptResult(
        outputs=_with_ids(report.outputs, size_of),
        previews=_with_ids(report.previews, size_of),
        order=report.order,
        node_results=text_of(_well_formed(report.node_results)) if report.node_results else None,
    )
    if isinstance(report, Produced):
        return result
    return dataclasses.replace(
        result,
        failure=Failure(**msgspec.structs.asdict(report.failure)) if report.failure else None,
        run_time_ms=report.run_time_ms,
        log=plain(report.log[-MAX_LOG_CHARACTERS:]),
    )


def _with_ids(reported: Sequence[OutputFile], size_of: Callable[[OutputFile], int]) -> list[Output]:
    """Outputs with ids, and with the sizes of what is stored."""
    return [
        Output(
            new_uuid(),
            each.name,
            each.digest,
            size_of(each),
            each.content_type,
            each.node_id,
            each.text,
            each.streamed,
        )
        for each in reported
    ]


def _enclosed_size(file: OutputFile) -> int:
    assert file.data is not None
    return len(file.data)


def _size(conn: Connection, file: OutputFile) -> int:
    """The size of an enclosed or stored output. Raises InvalidRequest for one that was not uploaded."""
    size = _enclosed_size(file) if file.data is not None else blobs.size_of(conn, file.digest)
    if size is None:
        raise InvalidRequest(f"The output '{file.name}' was reported but never uploaded.")
    return size


def _live(run_id: str, account_id: str, reports: Sequence[Report]) -> list[Event]:
    payloads = (_payload_of(report) for report in reports)
    return [Event(run_id, account_id, each) for each in payloads if each is not None]


def _payload_of(report: Report) -> Payload | None:
    match report:
        case Downloading(path, done, total):
            return Download(path, done, total)
        case NodesCached(nodes):
            return Cached(nodes)
        case NodeProgress():
            return _progress(report)
        case PreviewFrame(node, content_type, data_bytes):
            data_url = f"data:{content_type};base64,{base64.b64encode(data_bytes).decode()}"
            return Preview(node, data_url)
        case _:
            return None


def _progress(report: NodeProgress) -> Progress:
    within = min(1.0, report.value / report.maximum) if report.maximum > 0 else 0.0
    counted = min(1.0, (report.done + within) / max(1, report.total))  # of a worker that does not say
    return Progress(
        node=report.node,
        value=report.value,
        maximum=report.maximum,
        nodes_done=report.done,
        nodes_total=report.total,
        done=counted if report.part is None else report.part,
        finished=report.finished,
        display_node=report.display,
        parent_node=report.parent,
        real_node=report.real,
    )
