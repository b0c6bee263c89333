"""Transitions of runs: the only code that changes a run's state, with its event, webhook and usage.

Every function runs in a write transaction and returns the change to publish once it is committed; None if the run has
changed since it was read.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection

from comfyward.accounts.usage import credits_for
from comfyward.paths import OUTPUT_ROOT
from comfyward.runs.change import (
    Change,
    RunAssigned,
    RunCancelling,
    RunEnded,
    RunProduced,
    RunQueued,
    RunRequeued,
    RunStarted,
    RunWatched,
)
from comfyward.runs.event import Cancelling, Event, Staged, Status
from comfyward.runs.failure import WAS_CANCELLED, Failure
from comfyward.runs.output import Output
from comfyward.runs.run import ENDINGS, LEASED_STATES, EndReason, Run, State, next_state, public_status
from comfyward.store import accounts, files, leases, new_runs, runs, webhooks
from comfyward.store import events as stored_events
from comfyward.store.statement import Answer, Question

WEBHOOK_STARTED = "run.started"
WEBHOOK_COMPLETED = "run.completed"
WEBHOOK_FAILED = "run.failed"
WEBHOOK_CANCELLED = "run.cancelled"

_WEBHOOK_OF = {
    State.SUCCEEDED: WEBHOOK_COMPLETED,
    State.FAILED: WEBHOOK_FAILED,
    State.CANCELLED: WEBHOOK_CANCELLED,
}


@dataclass(frozen=True)
class AttemptResult:
    """The results of an attempt, in the form of the run's row. `order` has names of outputs, or none."""

    outputs: Sequence[Output] = ()
    previews: Sequence[Output] = ()
    node_results: str | None = None
    failure: Failure | None = None
    run_time_ms: int | None = None
    log: str | None = None
    order: Sequence[str] = ()


NOTHING = AttemptResult()


def queued(conn: Connection, new: new_runs.NewRun) -> RunQueued:
    """The change of a new row, with its first event."""
    event = _status(new.id, new.account_id, 1, State.QUEUED, None)
    return RunQueued(new.pool, _stored(conn, [event], new.created_at))


def assigned(conn: Connection, run: Run, now: int) -> RunAssigned:
    event = _status(run.id, run.account_id, run.event_seq, State.ASSIGNED, None, attempt=run.attempt, device=run.device)
    return RunAssigned(run, _stored(conn, [event], now))


def staged(conn: Connection, lease: str, now: int) -> RunWatched | None:
    """An assigned run's files are at its worker, and it waits for the GPU."""
    held = leases.staged(conn, lease, now)
    return None if held is None else RunWatched([Event(*held, Staged())])


def started(conn: Connection, answer: Answer, now: int) -> RunStarted | None:
    """assigned → running, by the answer to `leases.starting`."""
    run = leases.moved(answer)
    if run is None:
        return None
    if run.webhook is not None:
        webhooks.add(conn, run, WEBHOOK_STARTED, now)
    event = _status(run.id, run.account_id, run.event_seq, State.RUNNING, None, attempt=run.attempt, device=run.device)
    return RunStarted(run, _stored(conn, [event], now))


def produced(
    conn: Connection, run: Run, result: AttemptResult, *, taken: int, report_seq: int, now: int
) -> RunProduced | None:
    """Stores results of a run that goes on. Its caller can fetch them at once."""
    fresh = leases.produce(
        conn,
        run.lease or "",
        taken=taken,
        seq=report_seq,
        outputs=_in_order(_by_name(run.outputs, result.outputs), result.order),
        node_results=_merged(run.node_results, result.node_results),
        previews=_by_name(run.previews, result.previews),
        events=len(result.outputs),
        now=now,
    )
    if fresh is None:
        return None
    _register_files(conn, run, result, now)
    return RunProduced(fresh, _stored(conn, _of_outputs(run, result, fresh.event_seq), now))


def ended(
    conn: Connection, run: Run, reason: EndReason, now: int, *, result: AttemptResult = NOTHING
) -> RunEnded | RunRequeued | None:
    """Ends an attempt: the run ends, or is requeued."""
    state = next_state(reason, run.attempt, run.max_attempts, cancel_requested=run.cancel_requested_at is not None)
    if state is State.QUEUED:
        return requeued(conn, run, reason, now, log=result.log)
    if state is State.FAILED and reason is EndReason.OOM and run.fallback_pool is not None:
        return requeued(conn, run, reason, now, log=result.log, pool=run.fallback_pool)
    if state is State.CANCELLED:
        reason = EndReason.CANCELLED
    failure = None if state is State.SUCCEEDED else _with_hint(result.failure, reason)
    outputs = _in_order(_by_name(run.outputs, result.outputs), result.order)
    last_seq = leases.finish(
        conn,
        run,
        state=state,
        reason=reason,
        failure=failure,
        outputs=outputs if result.outputs or result.order else None,
        node_results=result.node_results,
        previews=_by_name(run.previews, result.previews) if result.previews else None,
        run_time_ms=result.run_time_ms,
        log=result.log,
        events=len(result.outputs) + 1,
        now=now,
    )
    if last_seq is None:
        return None
    over = _ended(
        run, result, now, outputs=outputs, state=state, end_reason=reason, failure=failure, event_seq=last_seq
    )
    return _after_end(conn, run, over, result, now)


def _ended(run: Run, result: AttemptResult, now: int, **how: Any) -> Run:
    """The run after its end."""
    return dataclasses.replace(
        run,
        node_results=result.node_results or run.node_results,
        previews=_by_name(run.previews, result.previews),
        run_time_ms=result.run_time_ms,
        lease=None,
        finished_at=now,
        updated_at=now,
        **how,
    )


def succeeding(lease: str, report_seq: int, result: AttemptResult, now: int) -> Question:
    """Asks for the end of a run that has succeeded, with all that it made; `succeeded` takes the answer."""
    return leases.succeeding(
        lease,
        report_seq,
        outputs=_in_order(_by_name([], result.outputs), result.order),
        node_results=result.node_results,
        previews=_by_name([], result.previews),
        run_time_ms=result.run_time_ms,
        log=result.log,
        now=now,
    )


def succeeded(conn: Connection, answer: Answer, now: int) -> RunEnded | None:
    """assigned | running → succeeded, by the answer to `succeeding`."""
    run = leases.moved(answer)
    if run is None:
        return None
    before = dataclasses.replace(run, outputs=[], previews=[])
    return _after_end(conn, before, run, AttemptResult(run.outputs, run.previews), now)


def _after_end(conn: Connection, before: Run, over: Run, result: AttemptResult, now: int) -> RunEnded:
    """Writes what the end of a run brings beside its row: files, a charge, events, a webhook."""
    assert over.end_reason is not None
    _register_files(conn, before, result, now)
    _charge(conn, over, over.end_reason, over.run_time_ms, now)
    status = _status(over.id, over.account_id, over.event_seq, over.state, over.end_reason, failure=over.failure)
    events = _stored(conn, [*_of_outputs(over, result, over.event_seq - 1), status], now)
    _announce(conn, over, _WEBHOOK_OF[over.state], now)
    return RunEnded(over, events)


def cancelled(conn: Connection, account_id: str, run_id: str, now: int) -> tuple[Run, Change | None]:
    """Ends a queued run, and asks for the end of one that a worker has. Nothing for a final one. Raises NotFound."""
    run = runs.request_cancel(conn, account_id, run_id, now)
    if run.state is State.QUEUED:
        change = ended(conn, run, EndReason.CANCELLED, now)
        return runs.get(conn, account_id, run_id), change
    if run.state not in LEASED_STATES:
        return run, None
    return run, RunCancelling(run, [Event(run_id, account_id, Cancelling())])


def requeued(
    conn: Connection, run: Run, reason: EndReason, now: int, *, log: str | None = None, pool: str | None = None
) -> RunRequeued | RunEnded | None:
    """Requeues a run for another attempt, or ends it if it has been cancelled since it was read.

    A run that failed for a reason of its worker avoids that worker; one that did not fit moves to a larger pool.
    """
    avoid = (
        run.worker_id if reason in (EndReason.GPU_FAULT, EndReason.COMFYUI_CRASHED, EndReason.STORAGE_FULL) else None
    )
    seq = leases.requeue(conn, run, avoid_worker_id=avoid, log=log, now=now, pool=pool)
    if seq is None:
        return _ended_if_cancelled(conn, run, now)
    runs.forget_results(conn, run)
    event = _status(run.id, run.account_id, seq, State.QUEUED, reason, attempt=run.attempt)
    waiting = _requeued(run, seq, now, outputs=[], node_results=None, previews=[])
    if pool is not None:
        waiting = dataclasses.replace(waiting, pool=pool, fallback_pool=None)
    return RunRequeued(waiting, _stored(conn, [event], now))


def given_back(conn: Connection, run: Run, now: int) -> RunRequeued | RunEnded | None:
    """Requeues a run as if it had not been assigned, or ends it if it is cancelled."""
    seq = leases.give_back(conn, run, now)
    if seq is None:
        return _ended_if_cancelled(conn, run, now)
    event = _status(run.id, run.account_id, seq, State.QUEUED, None)
    return RunRequeued(_requeued(run, seq, now, attempt=run.attempt - 1), _stored(conn, [event], now))


def _ended_if_cancelled(conn: Connection, run: Run, now: int) -> RunEnded | None:
    """The end of a run that cannot wait again, since it is cancelled; None if its lease is another's by now."""
    current = runs.get_any(conn, run.id)
    if current is None or current.lease is None or current.lease != run.lease or current.cancel_requested_at is None:
        return None
    change = ended(conn, current, EndReason.CANCELLED, now)
    assert not isinstance(change, RunRequeued)
    return change


def _requeued(run: Run, seq: int, now: int, **how: Any) -> Run:
    """The run after it was requeued."""
    return dataclasses.replace(
        run, state=State.QUEUED, lease=None, worker_id=None, event_seq=seq, updated_at=now, **how
    )


def _status(run_id: str, account_id: str, seq: int, state: State, reason: EndReason | None, **more: Any) -> Event:
    status = public_status(state, reason if state.is_final else None)
    return Event(run_id, account_id, Status(status, state, reason, **more), seq)


def _of_outputs(run: Run, result: AttemptResult, last_seq: int) -> list[Event]:
    first_seq = last_seq - len(result.outputs) + 1
    return [Event(run.id, run.account_id, output, seq) for seq, output in enumerate(result.outputs, first_seq)]


def _by_name(known: Sequence[Output], more: Sequence[Output]) -> list[Output]:
    """Outputs by name: a new file replaces the one of the same name."""
    return list({output.name: output for output in (*known, *more)}.values())


def _in_order(outputs: list[Output], order: Sequence[str]) -> list[Output]:
    """Outputs in the order of their names; those without a place come last, as they were."""
    places = {name: number for number, name in enumerate(order)}
    return sorted(outputs, key=lambda output: places.get(output.name, len(places)))


def _merged(known: str | None, more: str | None) -> str | None:
    """Node results, with those of further nodes."""
    if known is None or more is None:
        return known or more
    before, after = msgspec.json.decode(known), msgspec.json.decode(more)
    return msgspec.json.encode({key: {**before.get(key, {}), **after[key]} for key in after}).decode()


def _stored(conn: Connection, events: list[Event], now: int) -> list[Event]:
    stored_events.add(conn, events, now)
    return events


def _register_files(conn: Connection, run: Run, result: AttemptResult, now: int) -> None:
    """Registers the run's outputs as files of its account, and its previews as used blobs."""
    written_again = {output.name for output in result.outputs}
    files.forget(conn, [output.id for output in run.outputs if output.name in written_again])
    held = {source.get("blob") for source in run.files.values()}
    held |= {each.digest for each in (*run.outputs, *run.previews)}
    fresh = {each.digest: each.size for each in (*result.outputs, *result.previews) if each.digest not in held}
    runs.add_blob_uses(conn, run.account_id, run.id, fresh)
    files.add_outputs(
        conn,
        [
            files.StoredFile(
                id=output.id,
                account_id=run.account_id,
                path=f"{OUTPUT_ROOT}{run.id}/{output.name}",
                digest=output.digest,
                size=output.size,
                content_type=output.content_type,
                is_asset=True,
                run_id=run.id,
                created_at=now,
                named_at=now,
                expires_at=None,
            )
            for output in result.outputs
        ],
    )


def _announce(conn: Connection, run: Run, event: str, now: int) -> None:
    """Queues a webhook for the run after this change."""
    if run.webhook is not None and (fresh := runs.get_any(conn, run.id)) is not None:
        webhooks.add(conn, fresh, event, now)


def _with_hint(failure: Failure | None, reason: EndReason) -> Failure:
    messages = {EndReason.CANCELLED: WAS_CANCELLED, EndReason.WORKER_LOST: "The worker was lost."}
    failure = failure or Failure(messages.get(reason, f"The run ended: {reason}."))
    return failure if failure.hint else msgspec.structs.replace(failure, hint=ENDINGS[reason].hint)


def _charge(conn: Connection, run: Run, reason: EndReason, run_time_ms: int | None, now: int) -> None:
    """Charges GPU time if the attempt succeeded or failed because of the caller's graph."""
    ending = ENDINGS[reason]
    if not run_time_ms or not (ending.state is State.SUCCEEDED or ending.callers_fault):
        return
    accounts.add_usage(
        conn,
        run_id=run.id,
        attempt=run.attempt,
        account_id=run.account_id,
        api_key_id=run.api_key_id,
        workflow_id=run.workflow_id,
        accelerator=run.pool,
        day=datetime.datetime.fromtimestamp(now / 1000, datetime.UTC).date().isoformat(),
        gpu_ms=run_time_ms,
        credits=credits_for(run_time_ms, run.credits_per_s),
    )
