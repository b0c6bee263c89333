"""Operations on what workers say of environments: being built, tried, ready, or failed.

A row belongs to its worker, and to the token with which that joined: what a worker of another token left under the same
id counts for nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, bindparam, delete, func, insert, or_, select, update

from comfyward.store.schema import environment_locks, environment_trials, worker_tokens, workers
from comfyward.store.statement import Statement
from comfyward.store.tokens import IS_OPERATORS
from comfyward.store.workers import Announced, present_since

READY, FAILED = "ready", "failed"
MOST_REPORTS = 20  # of an environment, from workers of one token
SHOWN_REPORTS = 10  # of an environment
MOST_FORGOTTEN = 2000  # at once


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
    """A trial with its report as JSON, the pool of its worker, whether that is present, and one of the operator's own
    machines."""

    trial: Trial
    pool: str
    is_present: bool
    is_operators: bool
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


def put(conn: Connection, trial: Trial) -> bool:
    """Stores what a worker says now. The report of an earlier trial stays if its host has the environment still.

    Returns True if the state is another one than before.
    """
    values = trial.__dict__ | {"is_shared": int(trial.is_shared)}
    same = _same(trial.worker_id, trial.digest)
    of_token = (*same, environment_trials.c.token == trial.token)
    before = conn.scalar(select(environment_trials.c.state).where(*of_token))
    if before is None:
        conn.execute(delete(environment_trials).where(*same))
        conn.execute(insert(environment_trials).values(**values))
    else:
        conn.execute(update(environment_trials).where(*of_token).values(**values))
    return before != trial.state


def put_report(conn: Connection, trial: Trial, report: str, picture: str | None) -> None:
    """Stores the report of a trial as JSON, and its picture in base64."""
    put(conn, trial)
    values = {"report": report, "picture": picture}
    conn.execute(update(environment_trials).where(*_same(trial.worker_id, trial.digest)).values(**values))
    columns = environment_trials.c
    alike = (columns.digest == trial.digest, columns.token == trial.token, columns.report.is_not(None))
    newest = select(columns.worker_id).where(*alike).order_by(columns.changed_at.desc(), columns.worker_id)
    kept = list(conn.scalars(newest.limit(MOST_REPORTS)))
    older = update(environment_trials).where(*alike, columns.worker_id.not_in(kept))
    conn.execute(older.values(report=None, picture=None))


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


def of(
    conn: Connection, digests: Collection[str], seen_after: int, reported: Collection[str] = (), most: int | None = None
) -> list[Shown]:
    """The trials of some environments, by host: of each at most `most`, first of present workers that go on with
    it, then the newest. The reports of `reported` environments come with it, of each those of a few workers."""
    columns, is_present = environment_trials.c, present_since(seen_after)
    goes_on = columns.state.not_in([READY, FAILED])
    order = (is_present.desc(), goes_on.desc(), columns.changed_at.desc(), columns.worker_id)
    place = func.row_number().over(partition_by=columns.digest, order_by=order).label("place")
    about = (workers.c.pool, is_present.label("is_present"), IS_OPERATORS.label("is_operators"), place)
    query = select(*_COLUMNS, *about).join(workers, _IS_OF_WORKER)
    query = query.join(worker_tokens, worker_tokens.c.hash == workers.c.token)
    found = query.where(columns.digest.in_(list(digests))).subquery()
    shown = select(found) if most is None else select(found).where(found.c.place <= most)
    reports = _reports(conn, reported)
    return [
        Shown(
            _trial(row),
            row.pool,
            bool(row.is_present),
            bool(row.is_operators),
            reports.get((row.worker_id, row.digest)),
        )
        for row in conn.execute(shown.order_by(found.c.host, found.c.worker_id))
    ]


def _reports(conn: Connection, digests: Collection[str]) -> dict[tuple[str, str], str]:
    """The newest reports of some environments, by worker and environment."""
    columns = environment_trials.c
    place = func.row_number().over(partition_by=columns.digest, order_by=columns.changed_at.desc()).label("place")
    query = select(columns.worker_id, columns.digest, columns.report, place)
    found = query.where(columns.digest.in_(list(digests)), columns.report.is_not(None)).subquery()
    rows = conn.execute(select(found).where(found.c.place <= SHOWN_REPORTS)) if digests else ()
    return {(row.worker_id, row.digest): row.report for row in rows}


def prune(conn: Connection, named: Collection[str], seen_before: int) -> int:
    """Forgets what workers said that were not seen since a time. Of each named environment, the last good trial stays.

    Returns the number of trials that were forgotten.
    """
    columns = environment_trials.c
    is_seen = select(workers.c.id).where(_IS_OF_WORKER, workers.c.seen_at >= seen_before).exists()
    query = select(columns.worker_id, columns.digest, columns.state).where(~is_seen).order_by(columns.changed_at.desc())
    kept, forgotten = set[str](), list[tuple[str, str]]()
    for worker_id, digest, state in conn.execute(query.limit(MOST_FORGOTTEN)).all():
        if state == READY and digest in named and digest not in kept:
            kept.add(digest)
        else:
            forgotten.append((worker_id, digest))
    for worker_id, digest in forgotten:
        conn.execute(delete(environment_trials).where(*_same(worker_id, digest)))
    return len(forgotten)


def present(conn: Connection, seen_after: int) -> list[Present]:
    """The states of environments at present workers; every server reads this every second, so few columns."""
    columns = environment_trials.c
    query = (
        select(columns.worker_id, workers.c.pool, columns.digest, columns.state, columns.changed_at)
        .join(workers, _IS_OF_WORKER)
        .where(present_since(seen_after), columns.target == workers.c.target)
    )
    return [Present(*row) for row in conn.execute(query)]


def failure(conn: Connection, digest: str, pool: str, seen_after: int) -> str:
    """The words of the present worker of a pool that was the last to fail with an environment; "" if none has."""
    columns = environment_trials.c
    here = (columns.digest == digest, columns.state == FAILED, workers.c.pool == pool)
    query = select(columns.message).join(workers, _IS_OF_WORKER).where(*here, present_since(seen_after))
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
    of_present = query.join(workers, _IS_OF_WORKER).where(*here, present_since(seen_after))
    rows = conn.execute(of_present.group_by(workers.c.pool, columns.catalog_digest))
    found = [Announced(row[0], row[1], int(row[2]), int(row[3])) for row in rows]
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
