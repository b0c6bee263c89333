"""Operations on the queue and on leases, across accounts: dispatch uses them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Text, TextClause, bindparam, column, func, or_, select, update

from comfyward.runs.failure import Failure
from comfyward.runs.output import Output
from comfyward.runs.run import DEFAULT_ENVIRONMENT, EndReason, Run, State
from comfyward.runs.waiting_run import WaitingRun, account_limits, file_names, key_in, limit_names
from comfyward.store.rows import RUN_COLUMNS, run_of, text_of
from comfyward.store.runs import unchanged
from comfyward.store.schema import IS_QUEUED, accounts, api_keys, runs
from comfyward.store.statement import Statement, each_of

_WAITING = (
    select(
        runs.c.id,
        runs.c.account_id,
        runs.c.pool,
        runs.c.environment,
        runs.c.priority,
        runs.c.turn,
        runs.c.queued_at,
        runs.c.models,
        runs.c.avoid_worker_id,
        accounts.c.credit_limit,
        runs.c.api_key_id,
        runs.c.files,
        accounts.c.max_running,
        accounts.c.max_running_by_pool,
        api_keys.c.max_running.label("key_max_running"),
    )
    .join(accounts, accounts.c.id == runs.c.account_id)
    .outerjoin(api_keys, api_keys.c.id == runs.c.api_key_id)
    .where(IS_QUEUED)
)
_ABLE = each_of(bindparam("able", type_=Text)).table_valued(column("value", Text), name="able")
_FULL_ACCOUNTS = each_of(bindparam("accounts", type_=Text)).table_valued(column("value", Text), name="full_accounts")
_FULL_KEYS = each_of(bindparam("keys", type_=Text)).table_valued(column("value", Text), name="full_keys")
_OF_ENVIRONMENT = _WAITING.where(
    runs.c.pool == bindparam("pool"),
    runs.c.environment == bindparam("environment"),
    runs.c.account_id.not_in(select(_FULL_ACCOUNTS.c.value)),
    func.coalesce(runs.c.api_key_id, "").not_in(select(_FULL_KEYS.c.value)),
)
_WAITED_FOR = Statement(
    select(_ABLE.c.value).where(
        select(runs.c.id)
        .where(IS_QUEUED, runs.c.pool == bindparam("pool"), runs.c.environment == _ABLE.c.value)
        .correlate(_ABLE)
        .exists()
    )
)
_QUEUED = Statement(_WAITING.where(runs.c.id == bindparam("run_id")))
_HEADS = Statement(
    _OF_ENVIRONMENT.order_by(runs.c.priority.desc(), runs.c.turn, runs.c.queued_at, runs.c.id).limit(bindparam("most"))
)
_ANY_WAITING = Statement(select(runs.c.id).where(IS_QUEUED, runs.c.pool == bindparam("pool")).limit(1))
_OLDEST = Statement(
    _OF_ENVIRONMENT.where(runs.c.queued_at <= bindparam("before")).order_by(runs.c.queued_at).limit(bindparam("most"))
)
_LEASED_OF_ACCOUNT = Statement(
    select(runs.c.pool, runs.c.api_key_id).where(
        runs.c.account_id == bindparam("account_id"), runs.c.finished_at.is_(None), runs.c.lease.is_not(None)
    )
)
_RECENTLY_FINISHED = Statement(
    select(runs.c.pool, runs.c.assigned_at, runs.c.finished_at)
    .where(runs.c.finished_at >= bindparam("since"), runs.c.finished_at.is_not(None))
    .order_by(runs.c.finished_at.desc())
    .limit(bindparam("most"))
)


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
        **{name: bindparam(name) for name in _HANDED_OUT},
        updated_at=bindparam("assigned_at"),
    )
    .returning(*RUN_COLUMNS)
)
_LEASED = Statement(select(*RUN_COLUMNS, runs.c.report_seq).where(runs.c.lease == bindparam("held")))
_HOLDER = Statement(select(runs.c.id, runs.c.account_id).where(runs.c.lease == bindparam("held")))
_LEASED_BY = Statement(select(*RUN_COLUMNS).where(runs.c.worker_id == bindparam("worker"), runs.c.lease.is_not(None)))
_CANCELLED = Statement(
    select(runs.c.lease).where(
        runs.c.worker_id == bindparam("worker"), runs.c.lease.is_not(None), runs.c.cancel_requested_at.is_not(None)
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


NO_FILES = frozenset[str]()
AGED = 50  # longest-waiting runs, considered beside the head of the queue


@dataclass(frozen=True)
class Full:
    """The accounts, each in a pool, and the API keys that have as many runs as they may have at once."""

    accounts: frozenset[tuple[str, str]] = frozenset()
    keys: frozenset[str] = frozenset()

    @classmethod
    def of(cls, waiting: Sequence[WaitingRun], left: Mapping[str, int]) -> Full:
        """Those of some runs, by the number of further runs that each limit allows."""
        reached = {name for name, count in left.items() if count <= 0}
        accounts = {(run.pool, run.account_id) for run in waiting if reached & {*account_limits(run)}}
        return cls(frozenset(accounts), frozenset(key for name in reached if (key := key_in(name)) is not None))

    def __or__(self, other: Full) -> Full:
        return Full(self.accounts | other.accounts, self.keys | other.keys)


NOBODY_FULL = Full()


def heads(
    conn: Connection,
    able: Mapping[str, Collection[str]],
    limit: int,
    *,
    aged_before: int = 0,
    full: Full = NOBODY_FULL,
) -> list[WaitingRun]:
    """The first queued runs of each environment of some pools, and the oldest of those queued before `aged_before`.

    `able` holds environments by pool: runs of others, which nobody who asks could start, are not read. Each environment
    has a window of `limit` runs, as they need not be for the same workers. Runs of those that are `full` are left out.
    """
    found: dict[str, WaitingRun] = {}
    keys = json.dumps(sorted(full.keys))
    for pool, environments in able.items():
        accounts = json.dumps(sorted(account for full_in, account in full.accounts if full_in == pool))
        for (environment,) in _WAITED_FOR(conn, pool=pool, able=json.dumps(sorted(environments))):
            here = {"pool": pool, "environment": environment, "accounts": accounts, "keys": keys}
            rows = [*_HEADS(conn, **here, most=limit)]
            if aged_before and len(rows) == limit:  # else the oldest are among them
                rows += _OLDEST(conn, **here, before=aged_before, most=AGED)
            found |= {row[0]: _waiting_run(row) for row in rows}
    return list(found.values())


def waiting(conn: Connection, run_id: str) -> WaitingRun | None:
    """A queued run; None if it is not queued."""
    row = _QUEUED(conn, run_id=run_id).first()
    return _waiting_run(row) if row else None


def places_left(conn: Connection, waiting: Sequence[WaitingRun]) -> dict[str, int]:
    """The number of further runs that may start, by the name of each limit that some queued runs count toward."""
    left = {name: most for run in waiting for name, most in run.limits.items()}
    for account_id in {run.account_id for run in waiting if run.limits}:
        for pool, key in _LEASED_OF_ACCOUNT(conn, account_id=account_id):
            for name in limit_names(account_id, pool, key):
                if name in left:
                    left[name] -= 1
    return left


def leases(conn: Connection) -> tuple[dict[str, int], set[str]]:
    """(number of leased runs by pool, ids of the workers that hold them)."""
    by_pool: dict[str, int] = {}
    busy: set[str] = set()
    for pool, worker_id in conn.execute(select(runs.c.pool, runs.c.worker_id).where(runs.c.lease.is_not(None))):
        by_pool[pool] = by_pool.get(pool, 0) + 1
        busy.add(worker_id)
    return by_pool, busy


def is_empty(conn: Connection, pools: Iterable[str]) -> bool:
    """True if no run is queued in these pools."""
    return all(_ANY_WAITING(conn, pool=pool).first() is None for pool in pools)


def recent_durations(conn: Connection, pool: str, since: int, most: int = 500) -> list[int]:
    """The durations in ms, from assigned to finished, of a pool's recent runs, newest first."""
    rows = _RECENTLY_FINISHED(conn, since=since, most=most)
    return [row.finished_at - row.assigned_at for row in rows if row.pool == pool and row.assigned_at is not None]


def past_deadline(conn: Connection, now: int, limit: int = 500) -> list[Run]:
    """Queued runs whose deadline has passed."""
    query = select(*RUN_COLUMNS).where(IS_QUEUED, runs.c.start_by < now).limit(limit)
    return [run_of(row) for row in conn.execute(query)]


def fall_back(conn: Connection, queued_before: int) -> list[str]:
    """Moves runs queued before a time to their fallback pool. Returns the pool of each."""
    waiting = (IS_QUEUED, runs.c.fallback_pool.is_not(None), runs.c.queued_at < queued_before)
    moved = update(runs).where(*waiting).values(pool=runs.c.fallback_pool, fallback_pool=None).returning(runs.c.pool)
    return list(conn.scalars(moved))


def environments(conn: Connection) -> dict[str, list[str]]:
    """The environments of queued runs by pool, but for the default one; first those with most runs."""
    other = (IS_QUEUED, runs.c.environment != DEFAULT_ENVIRONMENT)
    query = (
        select(runs.c.pool, runs.c.environment, func.count()).where(*other).group_by(runs.c.pool, runs.c.environment)
    )
    found: dict[str, list[str]] = {}
    for pool, environment, _ in sorted(conn.execute(query).all(), key=lambda row: (-row[2], row[1])):
        found.setdefault(pool, []).append(environment)
    return found


def names_of(conn: Connection, pool: str, environment: str) -> list[str]:
    """The names under which an environment was asked for by the queued runs of a pool that are bound to it."""
    query = select(runs.c.environment_name).where(*_bound(pool, environment)).distinct()
    return sorted(conn.scalars(query))


def of_environment(conn: Connection, pool: str, environment: str, name: str, limit: int) -> list[Run]:
    """The first queued runs of a pool that are bound to an environment, which they asked for under a name."""
    query = select(*RUN_COLUMNS).where(*_bound(pool, environment), runs.c.environment_name == name)
    return [run_of(row) for row in conn.execute(query.order_by(runs.c.queued_at, runs.c.id).limit(limit))]


def _bound(pool: str, environment: str) -> tuple[ColumnElement[bool] | TextClause, ...]:
    other = runs.c.environment != DEFAULT_ENVIRONMENT
    return (
        IS_QUEUED,
        runs.c.pool == pool,
        runs.c.environment == environment,
        other,
        runs.c.cancel_requested_at.is_(None),
    )


def rebind(conn: Connection, run: Run, environment: str, revision: int, prompt: str, now: int) -> bool:
    """Binds a queued run to another revision of its environment. False if it has changed since it was read."""
    same = (runs.c.id == run.id, IS_QUEUED, runs.c.environment == run.environment)
    values = {"environment": environment, "environment_revision": revision, "prompt": prompt, "updated_at": now}
    return conn.execute(update(runs).where(*same).values(**values)).rowcount == 1


def lengths(conn: Connection) -> dict[str, int]:
    """The number of queued runs by pool."""
    query = select(runs.c.pool, func.count()).where(IS_QUEUED).group_by(runs.c.pool)
    return {row.pool: int(row[1]) for row in conn.execute(query)}


def by_environment(conn: Connection, *, leased: bool) -> Counter[str]:
    """The number of leased or else of queued runs, by the name of their environment."""
    query = select(runs.c.environment_name, func.count()).group_by(runs.c.environment_name)
    found = Counter[str]()
    for name, count in conn.execute(query.where(runs.c.lease.is_not(None) if leased else IS_QUEUED)):
        found[name.partition("@")[0] or DEFAULT_ENVIRONMENT] += count
    return found


def oldest(conn: Connection) -> dict[str, int]:
    """The time at which the oldest queued run was queued (ms since the epoch), by pool."""
    query = select(runs.c.pool, func.min(runs.c.queued_at)).where(IS_QUEUED).group_by(runs.c.pool)
    return {row.pool: int(row[1]) for row in conn.execute(query)}


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
    row: Any = _LEASED(conn, held=lease).first()
    return (run_of(row), row[-1]) if row else None


def run_under(conn: Connection, lease: str) -> tuple[str, str] | None:
    """(run id, account id) under a lease; cheaper than `leased`, for progress."""
    row = _HOLDER(conn, held=lease).first()
    return (row[0], row[1]) if row else None


def leased_by(conn: Connection, worker_id: str) -> list[Run]:
    """The runs that a worker holds."""
    return [run_of(row) for row in _LEASED_BY(conn, worker=worker_id)]


def cancelled_leases(conn: Connection, worker_id: str) -> list[str]:
    """The leases of a worker whose runs are to be cancelled."""
    return [row[0] for row in _CANCELLED(conn, worker=worker_id)]


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


def start(conn: Connection, lease: str, seq: int, now: int) -> Run | None:
    """assigned -> running, by report number `seq`. Returns the updated run; None if the lease is stale."""
    row = _START(conn, held=lease, seq=seq, now=now).first()
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
    values: dict[str, Any] = {"avoid_worker_id": avoid_worker_id, "log": log}
    values |= {"outputs": "[]", "node_results": None, "previews": "[]"}
    if pool is not None:
        values |= {"pool": pool, "fallback_pool": None}
    return _back_to_queue(conn, run, now, values)


def give_back(conn: Connection, run: Run, now: int) -> int | None:
    """Puts a run back into the queue that its worker has not begun. The attempt does not count."""
    return _back_to_queue(conn, run, now, {"attempt": runs.c.attempt - 1})


def _back_to_queue(conn: Connection, run: Run, now: int, values: dict[str, Any]) -> int | None:
    assert run.state.may_become(State.QUEUED), f"{run.state} -> {State.QUEUED}"
    back = (
        update(runs)
        .where(runs.c.id == run.id, *unchanged(run))
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


def _waiting_run(row: Any) -> WaitingRun:
    return WaitingRun(
        id=row.id,
        pool=row.pool,
        environment=row.environment,
        queued_at=row.queued_at,
        models=frozenset(msgspec.json.decode(row.models)),
        avoid_worker_id=row.avoid_worker_id,
        limits=_limits(row),
        priority=row.priority,
        turn=row.turn,
        files=NO_FILES if row.files == "{}" else frozenset(file_names(msgspec.json.decode(row.files))),
        account_id=row.account_id,
        has_credit_limit=row.credit_limit is not None,
    )


def _limits(row: Any) -> dict[str, int]:
    of_pool = None if row.max_running_by_pool == "{}" else msgspec.json.decode(row.max_running_by_pool).get(row.pool)
    named = zip(
        limit_names(row.account_id, row.pool, row.api_key_id),
        (row.max_running, of_pool, row.key_max_running),
        strict=True,
    )
    return {name: most for name, most in named if most is not None}
