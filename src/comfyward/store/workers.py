"""Operations on workers and their catalogs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from comfyward.store import queue
from comfyward.store.rows import text_of
from comfyward.store.schema import catalogs, workers
from comfyward.store.statement import Statement

PRESENT_MS = 60_000  # a worker or fleet that has been silent for this long is absent

_DRAIN = Statement(select(workers.c.drain_at).where(workers.c.id == bindparam("worker_id")))
_HOLDINGS = Statement(
    select(workers.c.id, workers.c.pool, workers.c.environment, workers.c.vitals).where(
        workers.c.seen_at >= bindparam("seen_after"), workers.c.gone_at.is_(None)
    )
)


@dataclass(frozen=True)
class Holding:
    """A present worker and the models it holds."""

    worker_id: str
    pool: str
    environment: str
    warm: frozenset[str]


@dataclass(frozen=True)
class WorkerRow:
    """A worker's own description, with what the server knows of it."""

    id: str
    incarnation: str
    pool: str
    environment: str
    device: str
    host: str
    sandbox: str
    versions: dict[str, Any]
    local: bool
    started_at: int
    seen_at: int
    gone_at: int | None
    vitals: dict[str, Any] = field(default_factory=dict)  # as worker.protocol.Vitals
    paused_at: int | None = None
    drain_at: int | None = None


def register(conn: Connection, worker: WorkerRow) -> str | None:
    """Stores a worker. Returns the incarnation that it replaces, if that is another one."""
    before = conn.execute(select(workers.c.incarnation, workers.c.gone_at).where(workers.c.id == worker.id)).first()
    conn.execute(delete(workers).where(workers.c.id == worker.id))
    values = {
        **worker.__dict__,
        "versions": text_of(worker.versions),
        "vitals": text_of(worker.vitals),
        "local": int(worker.local),
    }
    conn.execute(insert(workers).values(**values))
    return before.incarnation if before and before.incarnation != worker.incarnation else None


def touch(conn: Connection, worker_id: str, now: int, vitals: dict[str, Any] | None = None) -> None:
    """Marks a worker as present, and stores its vitals."""
    values = {} if vitals is None else {"vitals": text_of(vitals)}
    conn.execute(update(workers).where(workers.c.id == worker_id).values(seen_at=now, gone_at=None, **values))


def pause(conn: Connection, worker_id: str, now: int | None) -> None:
    """Keeps a worker from being started again once it has left; None lifts that."""
    conn.execute(update(workers).where(workers.c.id == worker_id).values(paused_at=now))


def drain(conn: Connection, worker_id: str, now: int) -> None:
    """Orders a worker to finish its runs and leave. Holds for this incarnation only."""
    conn.execute(update(workers).where(workers.c.id == worker_id).values(drain_at=now))


def orders_for(conn: Connection, worker_id: str) -> tuple[list[str], bool]:
    """(leases whose runs are to be cancelled, True if the worker is to drain)."""
    row = _DRAIN(conn, worker_id=worker_id).first()
    return queue.cancelled_leases(conn, worker_id), row is not None and row[0] is not None


def paused(conn: Connection) -> list[WorkerRow]:
    """Workers that are not to be started again."""
    query = select(workers).where(workers.c.paused_at.is_not(None)).order_by(workers.c.id)
    return [_worker(row._mapping) for row in conn.execute(query)]


def leave(conn: Connection, worker_id: str, now: int) -> None:
    """Marks a worker as gone."""
    conn.execute(update(workers).where(workers.c.id == worker_id, workers.c.gone_at.is_(None)).values(gone_at=now))


def get(conn: Connection, worker_id: str) -> WorkerRow | None:
    row = conn.execute(select(workers).where(workers.c.id == worker_id)).first()
    return _worker(row._mapping) if row else None


def find(conn: Connection, seen_after: int) -> list[WorkerRow]:
    """Present workers: seen since a time and not gone."""
    query = select(workers).where(workers.c.seen_at >= seen_after, workers.c.gone_at.is_(None)).order_by(workers.c.id)
    return [_worker(row._mapping) for row in conn.execute(query)]


def holdings(conn: Connection, seen_after: int) -> list[Holding]:
    """The models of each present worker. Every server reads this every few seconds, so it selects few columns."""
    return [
        Holding(worker_id, pool, environment, frozenset(_warm.decode(vitals).warm))
        for worker_id, pool, environment, vitals in _HOLDINGS(conn, seen_after=seen_after)
    ]


def local_ids(conn: Connection, prefix: str) -> list[str]:
    """The local workers of a server (by id prefix) that are not marked as gone."""
    own = (workers.c.local == 1, workers.c.id.startswith(prefix, autoescape=True))
    return list(conn.scalars(select(workers.c.id).where(*own, workers.c.gone_at.is_(None))))


def last_seen(conn: Connection, limit: int) -> list[WorkerRow]:
    """The workers seen last, present or not, most recent last."""
    newest = conn.execute(select(workers).order_by(workers.c.seen_at.desc()).limit(limit)).all()
    return [_worker(row._mapping) for row in reversed(newest)]


def known_pools(conn: Connection) -> dict[str, str]:
    """Every pool that a worker has ever served, with its last device."""
    last = func.max(workers.c.seen_at)
    query = select(workers.c.pool, workers.c.device).group_by(workers.c.pool, workers.c.device).order_by(last)
    return {row.pool: row.device for row in conn.execute(query)}


def local_pools(conn: Connection, seen_after: int) -> set[str]:
    """The pools that local workers of any server have served since a time. Their servers can start workers again."""
    query = select(workers.c.pool).where(workers.c.local == 1, workers.c.seen_at >= seen_after).distinct()
    return set(conn.scalars(query))


def count_present(conn: Connection, seen_after: int) -> dict[str, int]:
    """The number of present workers by pool."""
    query = select(workers.c.pool, func.count()).where(workers.c.seen_at >= seen_after, workers.c.gone_at.is_(None))
    return {row.pool: int(row[1]) for row in conn.execute(query.group_by(workers.c.pool))}


def put_catalog(conn: Connection, environment: str, digest: str, body: str, now: int) -> None:
    conn.execute(delete(catalogs).where(catalogs.c.environment == environment))
    conn.execute(insert(catalogs).values(environment=environment, digest=digest, body=body, updated_at=now))


def catalog_digest(conn: Connection, environment: str) -> str | None:
    return conn.scalar(select(catalogs.c.digest).where(catalogs.c.environment == environment))


def catalog(conn: Connection, environment: str) -> str | None:
    """An environment's catalog as JSON text; None before a worker has sent one."""
    return conn.scalar(select(catalogs.c.body).where(catalogs.c.environment == environment))


class _Warm(msgspec.Struct):
    """The part of a worker's vitals that placement reads."""

    warm: list[str] = []


_warm = msgspec.json.Decoder(_Warm)


def _worker(values: Any) -> WorkerRow:
    values = dict(values)
    values["versions"], values["vitals"] = (msgspec.json.decode(values[name]) for name in ("versions", "vitals"))
    values["local"] = bool(values["local"])
    return WorkerRow(**values)
