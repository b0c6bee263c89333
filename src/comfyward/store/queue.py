"""Operations on the queue, across accounts: dispatch uses them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Text, TextClause, bindparam, column, func, select, update

from comfyward.runs.run import DEFAULT_ENVIRONMENT, Run
from comfyward.runs.waiting_run import WaitingRun, account_limits, file_names, key_in, limit_names
from comfyward.store.rows import RUN_COLUMNS, run_of
from comfyward.store.schema import IS_QUEUED, accounts, api_keys, queue_lengths, runs
from comfyward.store.statement import Statement, each_of

WAITING_COLUMNS = (
    runs.c.id,
    runs.c.account_id,
    runs.c.pool,
    runs.c.environment,
    runs.c.priority,
    runs.c.turn,
    runs.c.queued_at,
    runs.c.models,
    runs.c.avoid_worker_id,
    runs.c.files,
)
"""What `waiting_run` reads of a run's row."""
_WAITING = (
    select(
        *WAITING_COLUMNS,
        accounts.c.credit_limit,
        runs.c.api_key_id,
        accounts.c.max_running,
        accounts.c.max_running_by_pool,
        api_keys.c.max_running.label("key_max_running"),
        runs.c.recalled_for,
        runs.c.recalled_at,
    )
    .join(accounts, accounts.c.id == runs.c.account_id)
    .outerjoin(api_keys, api_keys.c.id == runs.c.api_key_id)
    .where(IS_QUEUED, runs.c.cancel_requested_at.is_(None))
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
_OLDEST_OF_NEXT_ENVIRONMENT = Statement(  # a step for each environment, however many runs wait for it
    select(runs.c.environment, runs.c.queued_at)
    .where(IS_QUEUED, runs.c.pool == bindparam("pool"), runs.c.environment > bindparam("environment"))
    .order_by(runs.c.environment, runs.c.queued_at)
    .limit(1)
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


NOTHING = frozenset[str]()  # no models, no files
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
            found |= {row[0]: _queued_run(row) for row in rows}
    return list(found.values())


def waiting(conn: Connection, run_id: str) -> WaitingRun | None:
    """A queued run; None if it is not queued."""
    row = _QUEUED(conn, run_id=run_id).first()
    return _queued_run(row) if row else None


def places_left(conn: Connection, waiting: Sequence[WaitingRun]) -> dict[str, int]:
    """The number of further runs that may start, by the name of each limit that some queued runs count toward."""
    left = {name: most for run in waiting for name, most in run.limits.items()}
    for account_id in {run.account_id for run in waiting if run.limits}:
        for pool, key in _LEASED_OF_ACCOUNT(conn, account_id=account_id):
            for name in limit_names(account_id, pool, key):
                if name in left:
                    left[name] -= 1
    return left


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
    """The number of queued runs by pool, of those that have any."""
    length = func.sum(queue_lengths.c.length)
    query = select(queue_lengths.c.pool, length).group_by(queue_lengths.c.pool).having(length > 0)
    return {pool: int(count) for pool, count in conn.execute(query)}


def queued_by_environment(conn: Connection) -> Counter[str]:
    """The number of queued runs, by the name of their environment."""
    name = queue_lengths.c.environment_name
    query = select(name, func.sum(queue_lengths.c.length)).group_by(name)
    return Counter({name or DEFAULT_ENVIRONMENT: int(count) for name, count in conn.execute(query) if count})


def leased_by_environment(conn: Connection) -> Counter[str]:
    """The number of leased runs, by the name of their environment."""
    query = select(runs.c.environment_name, func.count()).where(runs.c.lease.is_not(None))
    found = Counter[str]()
    for name, count in conn.execute(query.group_by(runs.c.environment_name)):
        found[name.partition("@")[0] or DEFAULT_ENVIRONMENT] += count
    return found


def oldest(conn: Connection) -> dict[str, int]:
    """The time at which the oldest queued run was queued (ms since the epoch), by pool."""
    found: dict[str, int] = {}
    for pool in lengths(conn):
        environment = ""
        while row := _OLDEST_OF_NEXT_ENVIRONMENT(conn, pool=pool, environment=environment).first():
            environment, queued_at = row
            found[pool] = min(queued_at, found.get(pool, queued_at))
    return found


def waiting_run(row: Any, **more: Any) -> WaitingRun:
    """A run of a row with WAITING_COLUMNS, with further fields that those do not tell."""
    return WaitingRun(
        id=row.id,
        pool=row.pool,
        environment=row.environment,
        queued_at=row.queued_at,
        models=NOTHING if row.models == "[]" else frozenset(msgspec.json.decode(row.models)),
        avoid_worker_id=row.avoid_worker_id,
        priority=row.priority,
        turn=row.turn,
        files=NOTHING if row.files == "{}" else frozenset(file_names(msgspec.json.decode(row.files))),
        account_id=row.account_id,
        **more,
    )


def _queued_run(row: Any) -> WaitingRun:
    return waiting_run(
        row,
        limits=_limits(row),
        has_credit_limit=row.credit_limit is not None,
        kept_for=row.recalled_for,
        given_back_at=row.recalled_at or 0,
    )


def _limits(row: Any) -> dict[str, int]:
    if row.max_running is row.key_max_running is None and row.max_running_by_pool == "{}":
        return {}
    of_pool = None if row.max_running_by_pool == "{}" else msgspec.json.decode(row.max_running_by_pool).get(row.pool)
    named = zip(
        limit_names(row.account_id, row.pool, row.api_key_id),
        (row.max_running, of_pool, row.key_max_running),
        strict=True,
    )
    return {name: most for name, most in named if most is not None}
