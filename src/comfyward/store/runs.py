"""Operations on runs and their events. Whoever asks for an account's runs passes the account: there is no other way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, and_, bindparam, delete, func, insert, or_, select, tuple_, update

from comfyward.errors import IdempotencyMismatch, NotFound
from comfyward.runs.event import Event, EventType
from comfyward.runs.run import FINAL_STATES, LEASED_STATES, EndReason, Run, State
from comfyward.store.schema import accounts, blob_uses, events, runs

_encode = msgspec.json.encode
_decode = msgspec.json.decode

# Statements on every run's way are built once: building costs more than running them.
_JSON_FIELDS = ("files", "models", "metadata", "tags", "failure", "outputs")
_RUN_COLUMNS = [runs.c[name] for name in Run.__dataclass_fields__]


_OWN = (
    select(*_RUN_COLUMNS)
    .where(runs.c.id == bindparam("run_id"), runs.c.account_id == bindparam("account_id"))
    .where(runs.c.deleted_at.is_(None))
)
_ANY = select(*_RUN_COLUMNS).where(runs.c.id == bindparam("run_id"))
_STATE = (
    select(runs.c.state)
    .where(runs.c.id == bindparam("run_id"), runs.c.account_id == bindparam("account_id"))
    .where(runs.c.deleted_at.is_(None))
)
_LEASED = select(*_RUN_COLUMNS, runs.c.report_seq).where(runs.c.lease == bindparam("held_lease"))
_INSERT = insert(runs)
_ASSIGN = (
    update(runs)
    .where(runs.c.id == bindparam("run_id"), runs.c.state == State.QUEUED, runs.c.cancel_requested_at.is_(None))
    .values(
        state=State.ASSIGNED,
        attempt=runs.c.attempt + 1,
        report_seq=0,
        started_at=None,
        **{name: bindparam(name) for name in ("lease", "lease_expires_at", "worker_id", "device", "assigned_at")},
        updated_at=bindparam("assigned_at"),
    )
    .returning(*_RUN_COLUMNS)
)
_ADD_EVENT = (
    insert(events)
    .values(
        **{name: bindparam(name) for name in ("run_id", "type", "data", "created_at")},
        seq=select(func.coalesce(func.max(events.c.seq), 0) + 1)
        .where(events.c.run_id == bindparam("run_id"))
        .scalar_subquery(),
    )
    .returning(events.c.seq)
)


@dataclass(frozen=True)
class NewRun:
    """A run as intake writes it."""

    id: str
    account_id: str
    workflow_id: str
    api_key_id: str | None
    prompt_id: str
    accelerator: str
    pool: str
    environment: str
    priority: int
    timeout_s: float
    max_attempts: int
    prompt: str
    extra_data: str | None
    files: dict[str, Any]
    models: list[str]
    metadata: dict[str, Any]
    webhook: str | None
    tags: list[str]
    idempotency_key: str | None
    request_digest: str
    created_at: int


@dataclass(frozen=True)
class Candidate:
    """A queued run, as placement sees it."""

    id: str
    account_id: str
    pool: str
    environment: str
    priority: int
    queued_at: int
    models: tuple[str, ...]
    avoid_worker_id: str | None
    has_credit_limit: bool


@dataclass(frozen=True)
class RunFilter:
    """Which runs a list holds. `before` is the (created_at, id) of the last one seen."""

    workflow_id: str | None = None
    states: Sequence[State] = ()
    end_reason: EndReason | None = None
    accelerator: str | None = None
    before: tuple[int, str] | None = None
    limit: int = 300


def insert_run(conn: Connection, new: NewRun) -> str:
    """Writes a run and returns its id; a repeated Idempotency-Key returns the first run's id instead.

    Raises IdempotencyMismatch when the key came with another request.
    """
    if new.idempotency_key is not None:
        found = conn.execute(
            select(runs.c.id, runs.c.request_digest).where(
                runs.c.account_id == new.account_id, runs.c.idempotency_key == new.idempotency_key
            )
        ).first()
        if found is not None and found.request_digest != new.request_digest:
            raise IdempotencyMismatch("This Idempotency-Key was used with a different request.")
        if found is not None:
            return str(found.id)
    values = {
        "id": new.id,
        "account_id": new.account_id,
        "workflow_id": new.workflow_id,
        "api_key_id": new.api_key_id,
        "prompt_id": new.prompt_id,
        "state": State.QUEUED,
        "accelerator": new.accelerator,
        "pool": new.pool,
        "environment": new.environment,
        "priority": new.priority,
        "timeout_s": new.timeout_s,
        "max_attempts": new.max_attempts,
        "prompt": new.prompt,
        "extra_data": new.extra_data,
        "files": _text(new.files),
        "models": _text(new.models),
        "metadata": _text(new.metadata),
        "webhook": new.webhook,
        "tags": _text(new.tags),
        "idempotency_key": new.idempotency_key,
        "request_digest": new.request_digest,
        "created_at": new.created_at,
        "queued_at": new.created_at,
        "updated_at": new.created_at,
    }
    conn.execute(_INSERT, values)
    stored = {source["blob"] for source in new.files.values() if "blob" in source}
    add_blob_uses(conn, new.id, stored)
    return new.id


def get(conn: Connection, account_id: str, run_id: str) -> Run:
    """A run of the account. Raises NotFound, also for another account's run."""
    row = conn.execute(_OWN, {"run_id": run_id, "account_id": account_id}).first()
    if row is None:
        raise NotFound(f"There is no run '{run_id}'.")
    return _run(row)


def state_of(conn: Connection, account_id: str, run_id: str) -> State:
    """The state of a run of the account. Raises NotFound."""
    state = conn.scalar(_STATE, {"run_id": run_id, "account_id": account_id})
    if state is None:
        raise NotFound(f"There is no run '{run_id}'.")
    return State(state)


def get_any(conn: Connection, run_id: str) -> Run | None:
    """A run by id alone, for the parts of the service that act for no account (recorder, signed output links)."""
    row = conn.execute(_ANY, {"run_id": run_id}).first()
    return _run(row) if row else None


def find(conn: Connection, account_id: str, which: RunFilter) -> list[Run]:
    """The account's runs, newest first."""
    conditions = [runs.c.account_id == account_id, runs.c.deleted_at.is_(None)]
    if which.workflow_id:
        conditions.append(runs.c.workflow_id == which.workflow_id)
    if which.states:
        conditions.append(runs.c.state.in_(which.states))
    if which.end_reason:
        conditions.append(runs.c.end_reason == which.end_reason)
    if which.accelerator:
        conditions.append(runs.c.accelerator == which.accelerator)
    if which.before:
        conditions.append(tuple_(runs.c.created_at, runs.c.id) < which.before)
    query = select(*_RUN_COLUMNS).where(*conditions).order_by(runs.c.created_at.desc(), runs.c.id.desc())
    return [_run(row) for row in conn.execute(query.limit(which.limit))]


def queue_heads(conn: Connection, pools: Iterable[str], limit: int) -> list[Candidate]:
    """The first queued runs of some pools: highest priority, then longest waiting."""
    query = (
        select(
            runs.c.id,
            runs.c.account_id,
            runs.c.pool,
            runs.c.environment,
            runs.c.priority,
            runs.c.queued_at,
            runs.c.models,
            runs.c.avoid_worker_id,
            accounts.c.credit_limit,
        )
        .join(accounts, accounts.c.id == runs.c.account_id)
        .where(runs.c.state == State.QUEUED, runs.c.pool.in_(list(pools)))
        .order_by(runs.c.priority.desc(), runs.c.queued_at, runs.c.id)
        .limit(limit)
    )
    return [
        Candidate(
            row.id,
            row.account_id,
            row.pool,
            row.environment,
            row.priority,
            row.queued_at,
            tuple(_decode(row.models)),
            row.avoid_worker_id,
            row.credit_limit is not None,
        )
        for row in conn.execute(query)
    ]


def queue_lengths(conn: Connection) -> dict[str, int]:
    """How many runs wait, by pool."""
    query = select(runs.c.pool, func.count()).where(runs.c.state == State.QUEUED).group_by(runs.c.pool)
    return {row.pool: int(row[1]) for row in conn.execute(query)}


def leased_by(conn: Connection, worker_id: str) -> list[Run]:
    """The runs that a worker has."""
    query = select(*_RUN_COLUMNS).where(runs.c.worker_id == worker_id, runs.c.lease.is_not(None))
    return [_run(row) for row in conn.execute(query)]


def cancelled_leases(conn: Connection, worker_id: str) -> list[str]:
    """The leases of a worker whose runs somebody asked to cancel."""
    query = select(runs.c.lease).where(
        runs.c.worker_id == worker_id, runs.c.lease.is_not(None), runs.c.cancel_requested_at.is_not(None)
    )
    return list(conn.scalars(query))


def assign(
    conn: Connection, run_id: str, *, worker_id: str, device: str, lease: str, expires_at: int, now: int
) -> Run | None:
    """Hands a queued run to a worker as a new attempt. None when it is no longer queued."""
    values = {
        "run_id": run_id,
        "lease": lease,
        "lease_expires_at": expires_at,
        "worker_id": worker_id,
        "device": device,
        "assigned_at": now,
    }
    row = conn.execute(_ASSIGN, values).first()
    return _run(row) if row else None


def renew(conn: Connection, leases: Sequence[str], *, expires_at: int) -> set[str]:
    """Renews leases and returns those that were; the others are lost.

    A lease is its holder's until the run is taken away, even past its expiry: nobody else has it.
    """
    if not leases:
        return set()
    query = update(runs).where(runs.c.lease.in_(leases)).values(lease_expires_at=expires_at).returning(runs.c.lease)
    return set(conn.scalars(query))


def leased(conn: Connection, lease: str) -> tuple[Run, int] | None:
    """The run under a lease, and the number of the last report taken from its holder."""
    row = conn.execute(_LEASED, {"held_lease": lease}).first()
    return (_run(row), row.report_seq) if row else None


def expired(conn: Connection, now: int) -> list[Run]:
    """Runs whose worker has not renewed in time."""
    query = select(*_RUN_COLUMNS).where(runs.c.lease.is_not(None), runs.c.lease_expires_at <= now)
    return [_run(row) for row in conn.execute(query)]


def take_report(conn: Connection, lease: str, seq: int) -> None:
    """Remembers the newest report of a lease, so that a repeated one is not taken twice."""
    conn.execute(update(runs).where(runs.c.lease == lease).values(report_seq=seq))


def start(conn: Connection, lease: str, now: int) -> bool:
    """assigned -> running, for the holder of the lease."""
    changed = conn.execute(
        update(runs)
        .where(runs.c.lease == lease, runs.c.state == State.ASSIGNED)
        .values(state=State.RUNNING, started_at=now, updated_at=now)
    )
    return changed.rowcount == 1


def finish(
    conn: Connection,
    run: Run,
    *,
    state: State,
    reason: EndReason,
    failure: dict[str, Any] | None,
    outputs: list[dict[str, Any]],
    run_time_ms: int | None,
    log: str | None,
    now: int,
) -> bool:
    """Moves a run to a final state. Guarded by the state and lease that the caller read: False means too late."""
    changed = conn.execute(
        update(runs)
        .where(runs.c.id == run.id, *_unchanged(run))
        .values(
            state=state,
            end_reason=reason,
            failure=_text(failure) if failure else None,
            outputs=_text(outputs),
            run_time_ms=run_time_ms,
            log=log,
            lease=None,
            lease_expires_at=None,
            finished_at=now,
            updated_at=now,
        )
    )
    return changed.rowcount == 1


def requeue(conn: Connection, run: Run, *, avoid_worker_id: str | None, log: str | None, now: int) -> bool:
    """Puts a leased run back in the queue for another attempt, in its old place. False means too late."""
    changed = conn.execute(
        update(runs)
        .where(runs.c.id == run.id, *_unchanged(run))
        .values(
            state=State.QUEUED,
            lease=None,
            lease_expires_at=None,
            worker_id=None,
            avoid_worker_id=avoid_worker_id,
            log=log,
            updated_at=now,
        )
    )
    return changed.rowcount == 1


def give_back(conn: Connection, run: Run, now: int) -> bool:
    """Puts a run that its worker has not begun back in the queue; the attempt does not count."""
    changed = conn.execute(
        update(runs)
        .where(runs.c.id == run.id, *_unchanged(run))
        .values(
            state=State.QUEUED,
            attempt=runs.c.attempt - 1,
            lease=None,
            lease_expires_at=None,
            worker_id=None,
            updated_at=now,
        )
    )
    return changed.rowcount == 1


def request_cancel(conn: Connection, account_id: str, run_id: str, now: int) -> Run:
    """Writes down that the caller no longer wants the run, and returns it as it was. Final runs stay as they are."""
    run = get(conn, account_id, run_id)
    if not run.state.is_final and run.cancel_requested_at is None:
        conn.execute(update(runs).where(runs.c.id == run_id).values(cancel_requested_at=now, updated_at=now))
    return run


def remove(conn: Connection, account_id: str, run_id: str, now: int) -> None:
    """Hides a final run from its account; upkeep removes it with its outputs. Raises NotFound."""
    get(conn, account_id, run_id)
    conn.execute(
        update(runs)
        .where(runs.c.id == run_id, runs.c.state.in_(FINAL_STATES))
        .values(deleted_at=now, updated_at=now, idempotency_key=None)
    )


def purge(conn: Connection, *, deleted_before: int, finished_before: int | None, limit: int = 500) -> int:
    """Removes deleted and outdated runs for good, with events and blob uses. Returns how many."""
    old = runs.c.deleted_at < deleted_before
    if finished_before is not None:
        old = or_(old, and_(runs.c.state.in_(FINAL_STATES), runs.c.finished_at < finished_before))
    doomed = list(conn.scalars(select(runs.c.id).where(old).limit(limit)))
    for table in (events, blob_uses):
        conn.execute(delete(table).where(table.c.run_id.in_(doomed)))
    conn.execute(delete(runs).where(runs.c.id.in_(doomed)))
    return len(doomed)


def log_of(conn: Connection, account_id: str, run_id: str) -> str:
    """ComfyUI's log of the run's last attempt."""
    get(conn, account_id, run_id)
    return conn.scalar(select(runs.c.log).where(runs.c.id == run_id)) or ""


def add_event(conn: Connection, run_id: str, type_: EventType, data: dict[str, Any], now: int) -> Event:
    """Appends a stored event. The caller has changed the run's row before: its lock keeps numbers without twins."""
    values = {"run_id": run_id, "type": type_, "data": _text(data), "created_at": now}
    seq = conn.scalar(_ADD_EVENT, values)
    return Event(run_id, type_, data, seq)


def events_after(conn: Connection, account_id: str, run_id: str, after: int) -> list[Event]:
    """The stored events of a run with a number above `after`, in order. Raises NotFound."""
    get(conn, account_id, run_id)
    query = select(events).where(events.c.run_id == run_id, events.c.seq > after).order_by(events.c.seq)
    return [Event(run_id, EventType(row.type), _decode(row.data), row.seq) for row in conn.execute(query)]


def add_blob_uses(conn: Connection, run_id: str, digests: Iterable[str]) -> None:
    """Says that a run needs these blobs (which it did not before), so that upkeep keeps them."""
    rows = [{"digest": digest, "run_id": run_id} for digest in sorted(digests)]
    if rows:
        conn.execute(insert(blob_uses), rows)


def _unchanged(run: Run) -> list[Any]:
    if run.state in LEASED_STATES:
        return [runs.c.lease == run.lease, runs.c.state == run.state]
    return [runs.c.state == run.state]


def _run(row: Row[*tuple[Any, ...]]) -> Run:
    values = {name: getattr(row, name) for name in Run.__dataclass_fields__}
    for name in _JSON_FIELDS:
        if values[name] is not None:
            values[name] = _decode(values[name])
    values["state"] = State(values["state"])
    values["end_reason"] = EndReason(values["end_reason"]) if values["end_reason"] else None
    return Run(**values)


def _text(value: Any) -> str:
    return _encode(value).decode("utf-8")
