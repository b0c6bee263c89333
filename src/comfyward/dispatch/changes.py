"""The one place where a run's state changes: each change writes its event, its webhook and its usage with it.

Every function runs inside a write transaction and returns what to tell the live listeners once it is committed.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from comfyward.accounts.usage import credits_for
from comfyward.runs.event import Event, EventType
from comfyward.runs.run import ENDINGS, EndReason, Run, State, next_state, public_status
from comfyward.store import accounts, runs, webhooks

WEBHOOK_STARTED = "run.started"
WEBHOOK_COMPLETED = "run.completed"
WEBHOOK_FAILED = "run.failed"
WEBHOOK_CANCELLED = "run.cancelled"

_WEBHOOK_OF = {
    State.SUCCEEDED: WEBHOOK_COMPLETED,
    State.FAILED: WEBHOOK_FAILED,
    State.CANCELLED: WEBHOOK_CANCELLED,
}


def queued(conn: Connection, run_id: str, now: int) -> Event:
    """Intake wrote the row; this tells of it."""
    return _status(conn, run_id, State.QUEUED, None, now)


def assigned(conn: Connection, run: Run, now: int) -> Event:
    return _status(conn, run.id, State.ASSIGNED, None, now, attempt=run.attempt, device=run.device)


def started(conn: Connection, run: Run, now: int) -> list[Event]:
    """assigned -> running; nothing when the run has moved on."""
    assert run.lease is not None
    if not runs.start(conn, run.lease, now):
        return []
    _announce(conn, run, WEBHOOK_STARTED, now)
    return [_status(conn, run.id, State.RUNNING, None, now, attempt=run.attempt, device=run.device)]


def ended(
    conn: Connection,
    run: Run,
    reason: EndReason,
    now: int,
    *,
    prices: Mapping[str, float],
    failure: dict[str, Any] | None = None,
    outputs: Sequence[dict[str, Any]] = (),
    run_time_ms: int | None = None,
    log: str | None = None,
) -> list[Event]:
    """An attempt is over: the run ends, or goes back to the queue. Nothing when it has moved on."""
    state = next_state(reason, run.attempt, run.max_attempts, cancel_requested=run.cancel_requested_at is not None)
    if state is State.QUEUED:
        return requeued(conn, run, reason, now, log=log)
    if state is State.CANCELLED:
        reason, outputs = EndReason.CANCELLED, ()
    failure = None if state is State.SUCCEEDED else _explained(failure, reason)
    finished = runs.finish(
        conn,
        run,
        state=state,
        reason=reason,
        failure=failure,
        outputs=list(outputs),
        run_time_ms=run_time_ms,
        log=log,
        now=now,
    )
    if not finished:
        return []
    held = {source.get("blob") for source in run.files.values()}
    runs.add_blob_uses(conn, run.id, {output["digest"] for output in outputs} - held)
    _book(conn, run, reason, run_time_ms, now, prices)
    events = [runs.add_event(conn, run.id, EventType.OUTPUT, dict(output), now) for output in outputs]
    events.append(_status(conn, run.id, state, reason, now, failure=failure))
    _announce(conn, run, _WEBHOOK_OF[state], now)
    return events


def requeued(conn: Connection, run: Run, reason: EndReason, now: int, *, log: str | None = None) -> list[Event]:
    """Back to the queue for another attempt; a run that failed for a reason of its worker avoids that worker."""
    avoid = (
        run.worker_id if reason in (EndReason.GPU_FAULT, EndReason.COMFYUI_CRASHED, EndReason.STORAGE_FULL) else None
    )
    if not runs.requeue(conn, run, avoid_worker_id=avoid, log=log, now=now):
        return []
    return [_status(conn, run.id, State.QUEUED, reason, now, attempt=run.attempt)]


def given_back(conn: Connection, run: Run, now: int) -> list[Event]:
    """Back to the queue as if it had not been handed out."""
    if not runs.give_back(conn, run, now):
        return []
    return [_status(conn, run.id, State.QUEUED, None, now)]


def _status(conn: Connection, run_id: str, state: State, reason: EndReason | None, now: int, **more: Any) -> Event:
    data = {"status": public_status(state, reason if state.is_final else None), "state": state, "end_reason": reason}
    data |= {key: value for key, value in more.items() if value is not None}
    return runs.add_event(conn, run_id, EventType.STATUS, data, now)


def _announce(conn: Connection, run: Run, event: str, now: int) -> None:
    """Queues a webhook with the run as this change has made it."""
    if run.webhook is not None and (fresh := runs.get_any(conn, run.id)) is not None:
        webhooks.add(conn, fresh, event, now)


def _explained(failure: dict[str, Any] | None, reason: EndReason) -> dict[str, Any]:
    messages = {EndReason.CANCELLED: "The run was cancelled.", EndReason.WORKER_LOST: "The worker was lost."}
    failure = dict(failure or {"message": messages.get(reason, f"The run ended: {reason}.")})
    if not failure.get("hint"):
        failure["hint"] = ENDINGS[reason].hint
    return failure


def _book(
    conn: Connection, run: Run, reason: EndReason, run_time_ms: int | None, now: int, prices: Mapping[str, float]
) -> None:
    """GPU time is charged for what the caller's graph did, not for what broke on our side."""
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
        credits=credits_for(run_time_ms, run.pool, prices),
    )
