"""Operations on leases and the runs under them, across accounts. A run moves only while its lease is as it was read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, Text, and_, bindparam, case, func, or_, select, update

from comfyward.runs.failure import Failure
from comfyward.runs.output import Output
from comfyward.runs.run import EndReason, Run, State
from comfyward.store.rows import RUN_COLUMNS, run_of, text_of
from comfyward.store.runs import unchanged
from comfyward.store.schema import runs
from comfyward.store.statement import Answer, Question, Statement


def _may_become(state: State) -> ColumnElement[bool]:
    """The condition that a run may move to a state from the one that it is in."""
    return or_(*(runs.c.state == before for before in State if before.may_become(state)))


_HANDED_OUT = ("lease", "lease_expires_at", "worker_id", "device", "assigned_at", "credits_per_s")
# A run that another server is assigning right now is left out, not waited for.
_FREE = (
    select(runs.c.id)
    .where(runs.c.id == bindparam("run_id"), _may_become(State.ASSIGNED), runs.c.cancel_requested_at.is_(None))
    .with_for_update(skip_locked=True)
    .scalar_subquery()
)
_ASSIGN = Statement(
    update(runs)
    .where(runs.c.id == _FREE)
    .values(
        state=State.ASSIGNED,
        attempt=runs.c.attempt + 1,
        event_seq=runs.c.event_seq + 1,
        report_seq=0,
        staged_at=None,
        started_at=None,
        recalled_at=None,
        recalled_for=None,
        **{name: bindparam(name) for name in _HANDED_OUT},
        updated_at=bindparam("assigned_at"),
    )
    .returning(*RUN_COLUMNS)
)
_LEASED = Statement(select(*RUN_COLUMNS, runs.c.report_seq).where(runs.c.lease == bindparam("held")))
_HOLDER = Statement(select(runs.c.id, runs.c.account_id).where(runs.c.lease == bindparam("held")))
_LEASED_BY = Statement(select(*RUN_COLUMNS).where(runs.c.worker_id == bindparam("worker"), runs.c.lease.is_not(None)))
_ORDERED = Statement(
    select(runs.c.lease, runs.c.cancel_requested_at).where(
        runs.c.worker_id == bindparam("worker"),
        runs.c.lease.is_not(None),
        or_(
            runs.c.cancel_requested_at.is_not(None),
            and_(runs.c.recalled_at.is_not(None), runs.c.state == State.ASSIGNED),
        ),
    )
)
_RENEW = Statement(
    update(runs)
    .where(runs.c.lease == bindparam("held"), runs.c.worker_id == bindparam("worker"))
    .values(lease_expires_at=bindparam("expires_at"))
)
_START = Statement(
    update(runs)
    .where(runs.c.lease == bindparam("held"), _may_become(State.RUNNING))
    .values(
        state=State.RUNNING,
        report_seq=bindparam("seq"),
        event_seq=runs.c.event_seq + 1,
        started_at=bindparam("now"),
        updated_at=bindparam("now"),
    )
    .returning(*RUN_COLUMNS)
)
_STAGED = Statement(
    update(runs)
    .where(runs.c.lease == bindparam("held"), runs.c.state == State.ASSIGNED)
    .values(staged_at=bindparam("now"), updated_at=bindparam("now"))
    .returning(runs.c.id, runs.c.account_id)
)
_PRODUCE = Statement(
    update(runs)
    .where(runs.c.lease == bindparam("held"), runs.c.report_seq == bindparam("taken"))
    .values(
        report_seq=bindparam("seq"),
        event_seq=runs.c.event_seq + bindparam("events"),
        updated_at=bindparam("now"),
        **{name: bindparam(name) for name in ("outputs", "node_results", "previews")},
    )
    .returning(*RUN_COLUMNS)
)
_FINISHED = ("end_reason", "failure", "run_time_ms", "log")
_RESULTS = ("outputs", "node_results", "previews")  # a null keeps the old value
_HELD_FOR_MS = bindparam("now", type_=BigInteger) - runs.c.assigned_at  # it is what the account is charged for
_RUN_TIME_MS = bindparam("run_time_ms", type_=BigInteger)
# With all results in its last report, a run needs not be read before: there are none that these would be added to.
_SUCCEED = Statement(
    update(runs)
    .where(runs.c.lease == bindparam("held"), _may_become(State.SUCCEEDED), runs.c.report_seq < bindparam("seq"))
    .where(runs.c.outputs == "[]", runs.c.previews == "[]")
    .values(
        state=State.SUCCEEDED,
        end_reason=EndReason.COMPLETED,
        failure=None,
        lease=None,
        lease_expires_at=None,
        event_seq=runs.c.event_seq + bindparam("events"),
        finished_at=bindparam("now"),
        updated_at=bindparam("now"),
        run_time_ms=case((_RUN_TIME_MS > _HELD_FOR_MS, _HELD_FOR_MS), else_=_RUN_TIME_MS),
        log=bindparam("log"),
        outputs=bindparam("outputs"),
        previews=bindparam("previews"),
        node_results=func.coalesce(bindparam("node_results", type_=Text), runs.c.node_results),
    )
    .returning(*RUN_COLUMNS)
)
_FINISH = Statement(
    update(runs)
    .where(runs.c.id == bindparam("run_id"), runs.c.state == bindparam("was"))
    .where(func.coalesce(runs.c.lease, "") == bindparam("held"))
    .values(
        state=bindparam("to"),
        lease=None,
        lease_expires_at=None,
        event_seq=runs.c.event_seq + bindparam("events"),
        finished_at=bindparam("now"),
        updated_at=bindparam("now"),
        **{name: bindparam(name) for name in _FINISHED},
        **{name: func.coalesce(bindparam(name, type_=Text), runs.c[name]) for name in _RESULTS},
    )
    .returning(runs.c.event_seq)
)


def held(conn: Connection) -> tuple[dict[str, int], set[str]]:
    """(number of leased runs by pool, ids of the workers that hold them)."""
    by_pool: dict[str, int] = {}
    busy: set[str] = set()
    for pool, worker_id in conn.execute(select(runs.c.pool, runs.c.worker_id).where(runs.c.lease.is_not(None))):
        by_pool[pool] = by_pool.get(pool, 0) + 1
        busy.add(worker_id)
    return by_pool, busy


@dataclass(frozen=True)
class NewLease:
    """A lease to give: of which run, to which worker, at which price."""

    run_id: str
    worker_id: str
    device: str
    lease: str
    credits_per_s: float = 0.0


def assign(conn: Connection, leases: Sequence[NewLease], *, expires_at: int, now: int) -> list[Run]:
    """Assigns queued runs to workers as new attempts. Leaves out runs that another server has claimed."""
    values = [{**lease.__dict__, "lease_expires_at": expires_at, "assigned_at": now} for lease in leases]
    return [run_of(row) for answer in _ASSIGN.each(conn, values) for row in answer]


def staged(conn: Connection, lease: str, now: int) -> tuple[str, str] | None:
    """Records that an assigned run's files are at its worker. Returns (run id, account id); None if it has moved on."""
    row = _STAGED(conn, held=lease, now=now).first()
    return (row[0], row[1]) if row else None


def leased(conn: Connection, lease: str) -> tuple[Run, int] | None:
    """The run under a lease, and the number of the last report taken for it."""
    return found(asking(lease).ask(conn))


def asking(lease: str) -> Question:
    """Asks for the run under a lease; `found` reads the answer."""
    return Question(_LEASED, {"held": lease})


def found(answer: Answer) -> tuple[Run, int] | None:
    """The run under a lease, and the number of the last report taken for it; None if the lease is stale."""
    row: Any = answer.first()
    return (run_of(row), row[-1]) if row else None


def run_under(conn: Connection, lease: str) -> tuple[str, str] | None:
    """(run id, account id) under a lease; cheaper than `leased`, for progress."""
    row = _HOLDER(conn, held=lease).first()
    return (row[0], row[1]) if row else None


def leased_by(conn: Connection, worker_id: str) -> list[Run]:
    """The runs that a worker holds."""
    return [run_of(row) for row in _LEASED_BY(conn, worker=worker_id)]


def ordered(conn: Connection, worker_id: str) -> tuple[list[str], list[str]]:
    """(leases of a worker whose runs are to be cancelled, leases whose runs it is to give back unless they start)."""
    rows = list(_ORDERED(conn, worker=worker_id))
    return [row[0] for row in rows if row[1] is not None], [row[0] for row in rows if row[1] is None]


def renew(conn: Connection, worker_id: str, leases: Sequence[str], *, expires_at: int) -> set[str]:
    """Renews leases of a worker and returns those that it still holds; the others are lost.

    A lease can be renewed even past its expiry, until its run is taken away: nobody else has it before.
    """
    return {
        lease for lease in leases if _RENEW(conn, worker=worker_id, held=lease, expires_at=expires_at).rowcount == 1
    }


def expired(conn: Connection, now: int) -> list[Run]:
    """Runs whose lease has expired."""
    query = select(*RUN_COLUMNS).where(runs.c.lease.is_not(None), runs.c.lease_expires_at <= now)
    return [run_of(row) for row in conn.execute(query)]


def starting(lease: str, seq: int, now: int) -> Question:
    """assigned -> running, by report number `seq`; `moved` reads the answer."""
    return Question(_START, {"held": lease, "seq": seq, "now": now})


def succeeding(
    lease: str,
    seq: int,
    *,
    outputs: Sequence[Output],
    node_results: str | None,
    previews: Sequence[Output],
    run_time_ms: int | None,
    log: str | None,
    now: int,
) -> Question:
    """assigned | running -> succeeded, by report number `seq`, with all results; `moved` reads the answer.

    Reserves numbers for the events of the outputs, and one for the end.
    """
    results = {"outputs": text_of(outputs), "node_results": node_results, "previews": text_of(previews)}
    end = {"run_time_ms": run_time_ms, "log": log, "events": len(outputs) + 1, "now": now}
    return Question(_SUCCEED, {"held": lease, "seq": seq, **results, **end})


def moved(answer: Answer) -> Run | None:
    """The run that was started or has succeeded, after that.

    None if the lease is stale, if the report was taken before, or if the run that is to succeed has earlier results.
    """
    row = answer.first()
    return run_of(row) if row else None


def produce(
    conn: Connection,
    lease: str,
    *,
    taken: int,
    seq: int,
    outputs: Sequence[Output],
    node_results: str | None,
    previews: Sequence[Output],
    events: int,
    now: int,
) -> Run | None:
    """Stores a run's outputs so far, by report number `seq`, which must follow `taken`, the last one taken.

    Reserves numbers for `events` events. Returns the updated run; None if the lease is stale or the report was taken.
    """
    results = {"outputs": text_of(outputs), "node_results": node_results, "previews": text_of(previews)}
    row = _PRODUCE(conn, held=lease, taken=taken, seq=seq, events=events, now=now, **results).first()
    return run_of(row) if row else None


def finish(
    conn: Connection,
    run: Run,
    *,
    state: State,
    reason: EndReason,
    failure: Failure | None,
    outputs: Sequence[Output] | None,
    node_results: str | None,
    previews: Sequence[Output] | None,
    run_time_ms: int | None,
    log: str | None,
    events: int,
    now: int,
) -> int | None:
    """Moves a run to a final state and reserves numbers for its last `events` events. Returns the last number.

    Returns None if the run's state or lease has changed since it was read. Outputs, node results and previews that are
    None keep their value.
    """
    assert run.state.may_become(state), f"{run.state} -> {state}"
    event_seq: int | None = _FINISH(
        conn,
        run_id=run.id,
        was=run.state,
        held=run.lease or "",
        to=state,
        end_reason=reason,
        failure=text_of(failure) if failure else None,
        outputs=None if outputs is None else text_of(outputs),
        node_results=node_results,
        previews=None if previews is None else text_of(previews),
        run_time_ms=run_time_ms,
        log=log,
        events=events,
        now=now,
    ).scalar()
    return event_seq


def requeue(
    conn: Connection, run: Run, *, avoid_worker_id: str | None, log: str | None, now: int, pool: str | None = None
) -> int | None:
    """Puts a leased run back into the queue for another attempt, at its old place, or into another pool's queue.

    Clears the outputs of this attempt. Returns the number of the run's event; None if it has changed since it was read.
    """
    values: dict[str, Any] = {"avoid_worker_id": avoid_worker_id, "log": log, "recalled_at": None, "recalled_for": None}
    values |= {"outputs": "[]", "node_results": None, "previews": "[]"}
    if pool is not None:
        values |= {"pool": pool, "fallback_pool": None}
    return _back_to_queue(conn, run, now, values)


def give_back(conn: Connection, run: Run, now: int) -> int | None:
    """Puts a run back into the queue that its worker has not begun. The attempt does not count.

    One that was recalled is kept from now on for the worker for which it was.
    """
    kept_since = case((runs.c.recalled_for.is_not(None), now))
    return _back_to_queue(conn, run, now, {"attempt": runs.c.attempt - 1, "recalled_at": kept_since})


def _back_to_queue(conn: Connection, run: Run, now: int, values: dict[str, Any]) -> int | None:
    """A run whose cancel was stored meanwhile stays as it is: nobody would be given it, and nobody would end it."""
    assert run.state.may_become(State.QUEUED), f"{run.state} -> {State.QUEUED}"
    back = (
        update(runs)
        .where(runs.c.id == run.id, *unchanged(run), runs.c.cancel_requested_at.is_(None))
        .values(
            state=State.QUEUED,
            lease=None,
            lease_expires_at=None,
            worker_id=None,
            event_seq=runs.c.event_seq + 1,
            updated_at=now,
            **values,
        )
        .returning(runs.c.event_seq)
    )
    return conn.execute(back).scalar()
