"""Operations on what workers say of environments: being built, tried, ready, or failed.

A row belongs to its worker, and to the token with which that joined: what a worker of another token left under the same
id counts for nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, bindparam, delete, func, insert, or_, select, update

from comfyward.store.schema import environment_locks, environment_trials, workers
from comfyward.store.statement import Statement
from comfyward.store.workers import Announced

READY, FAILED = "ready", "failed"


@dataclass(frozen=True)
class Trial:
    """The state of an environment at a worker. `is_shared`: it joined with a token for any pool."""

    worker_id: str
    digest: str
    token: str
    is_shared: bool
    host: str
    target: str
    state: str
    changed_at: int
    step: str = ""
    part: float | None = None
    message: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Shown:
    """A trial with its report as JSON, the pool of its worker, and whether that is present."""

    trial: Trial
    pool: str
    is_present: bool
    report: str | None


@dataclass(frozen=True)
class Present:
    """The state of an environment at a present worker."""

    worker_id: str
    pool: str
    digest: str
    state: str
    changed_at: int


_COLUMNS = [environment_trials.c[name] for name in Trial.__dataclass_fields__]
_IS_OF_WORKER = and_(environment_trials.c.worker_id == workers.c.id, environment_trials.c.token == workers.c.token)
_DONE_BY = Statement(
    select(environment_trials.c.digest)
    .join(workers, _IS_OF_WORKER)
    .where(environment_trials.c.worker_id == bindparam("worker_id"))
    .where(or_(environment_trials.c.state == bindparam("ready"), environment_trials.c.state == bindparam("failed")))
)


def is_locked(conn: Connection, digest: str, target: str) -> bool:
    """True if a revision has this lock for a target: workers report on nothing else."""
    locks = environment_locks.c
    query = select(locks.digest).where(locks.digest == digest, locks.target == target).limit(1)
    return conn.execute(query).first() is not None


def put(conn: Connection, trial: Trial) -> None:
    """Stores what a worker says now. The report of an earlier trial stays if its host has the environment still."""
    values = trial.__dict__ | {"is_shared": int(trial.is_shared)}
    same = _same(trial.worker_id, trial.digest)
    changed = update(environment_trials).where(*same, environment_trials.c.token == trial.token)
    if conn.execute(changed.values(**values)).rowcount == 0:
        conn.execute(delete(environment_trials).where(*same))
        conn.execute(insert(environment_trials).values(**values))


def put_report(conn: Connection, trial: Trial, report: str, picture: str | None) -> None:
    """Stores the report of a trial as JSON, and its picture in base64."""
    put(conn, trial)
    values = {"report": report, "picture": picture}
    conn.execute(update(environment_trials).where(*_same(trial.worker_id, trial.digest)).values(**values))


def set_ready(conn: Connection, ready: Collection[Trial], worker_id: str) -> None:
    """Stores all that a joining worker has ready; what it does not have any more is forgotten."""
    kept = [trial.digest for trial in ready]
    gone = (environment_trials.c.worker_id == worker_id, environment_trials.c.digest.not_in(kept))
    conn.execute(delete(environment_trials).where(*gone, environment_trials.c.state != FAILED))
    for trial in ready:
        put(conn, trial)


def set_catalog(conn: Connection, worker_ids: Collection[str], digest: str, catalog_digest: str) -> None:
    """Stores which catalog an environment has at some workers."""
    here = (environment_trials.c.worker_id.in_(list(worker_ids)), environment_trials.c.digest == digest)
    conn.execute(update(environment_trials).where(*here).values(catalog_digest=catalog_digest))


def forget_failures(conn: Connection, digests: Collection[str]) -> None:
    """Forgets that environments failed, so that they are tried again."""
    failed = (environment_trials.c.digest.in_(list(digests)), environment_trials.c.state == FAILED)
    conn.execute(delete(environment_trials).where(*failed))


def forget_unknown(conn: Connection) -> None:
    """Forgets environments of which no revision has a lock any more."""
    known = select(environment_locks.c.digest)
    conn.execute(delete(environment_trials).where(environment_trials.c.digest.not_in(known)))


def of(conn: Connection, digests: Collection[str], seen_after: int) -> list[Shown]:
    """All that workers say of some environments, by host."""
    here = (workers.c.pool, workers.c.seen_at, workers.c.gone_at, environment_trials.c.report)
    query = select(*_COLUMNS, *here).join(workers, _IS_OF_WORKER).where(environment_trials.c.digest.in_(list(digests)))
    ordered = query.order_by(environment_trials.c.host, environment_trials.c.worker_id)
    return [
        Shown(_trial(row), row.pool, row.gone_at is None and row.seen_at >= seen_after, row.report)
        for row in conn.execute(ordered)
    ]


def present(conn: Connection, seen_after: int) -> list[Present]:
    """The states of environments at present workers; every server reads this every second, so few columns."""
    columns = environment_trials.c
    query = (
        select(columns.worker_id, workers.c.pool, columns.digest, columns.state, columns.changed_at)
        .join(workers, _IS_OF_WORKER)
        .where(workers.c.seen_at >= seen_after, workers.c.gone_at.is_(None), columns.target == workers.c.target)
    )
    return [Present(*row) for row in conn.execute(query)]


def failure(conn: Connection, digest: str, pool: str, seen_after: int) -> str:
    """What the present worker of a pool says that was the last to fail with an environment; "" if none has."""
    columns = environment_trials.c
    here = (columns.digest == digest, columns.state == FAILED, workers.c.pool == pool)
    present = (workers.c.seen_at >= seen_after, workers.c.gone_at.is_(None))
    query = select(columns.message).join(workers, _IS_OF_WORKER).where(*here, *present)
    return conn.scalar(query.order_by(columns.changed_at.desc()).limit(1)) or ""


def is_ready(present: Iterable[Present], digest: str, pool: str) -> bool:
    """True if one of the present workers of a pool has an environment ready."""
    return any((each.pool, each.digest, each.state) == (pool, digest, READY) for each in present)


def done_by(conn: Connection, worker_id: str) -> set[str]:
    """The environments of which a worker has said that they are ready or failed."""
    return {row[0] for row in _DONE_BY(conn, worker_id=worker_id, ready=READY, failed=FAILED)}


def announced(conn: Connection, digest: str, seen_after: int) -> list[Announced]:
    """The catalogs that an environment has at present workers: first what most have, and have had for longest."""
    columns = environment_trials.c
    query = select(workers.c.pool, columns.catalog_digest, func.count(), func.min(workers.c.started_at))
    here = (columns.digest == digest, columns.state == READY, columns.catalog_digest != "")
    present = (workers.c.seen_at >= seen_after, workers.c.gone_at.is_(None))
    grouped = query.join(workers, _IS_OF_WORKER).where(*here, *present).group_by(workers.c.pool, columns.catalog_digest)
    found = [Announced(row[0], row[1], int(row[2]), int(row[3])) for row in conn.execute(grouped)]
    return sorted(found, key=lambda each: (-each.workers, each.since, each.digest))


def picture(conn: Connection, digest: str) -> str | None:
    """The newest picture of an environment's trials, in base64."""
    columns = environment_trials.c
    query = select(columns.picture).where(columns.digest == digest, columns.picture.is_not(None))
    return conn.scalar(query.order_by(columns.changed_at.desc()).limit(1))


def _trial(row: Row[*tuple[Any, ...]]) -> Trial:
    values = {name: row._mapping[name] for name in Trial.__dataclass_fields__}
    return Trial(**values | {"is_shared": bool(values["is_shared"])})


def _same(worker_id: str, digest: str) -> tuple[ColumnElement[bool], ...]:
    return environment_trials.c.worker_id == worker_id, environment_trials.c.digest == digest
