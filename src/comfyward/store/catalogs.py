"""Operations on catalogs: what the ComfyUI of an environment offers in a pool, as workers of the pool sent it.

A catalog that came with a token for one pool is used for that pool alone; a shared one came with a token for any pool.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from comfyward.store import trials, workers
from comfyward.store.schema import catalogs
from comfyward.store.workers import Announced

KEPT_PER_POOL = 8


@dataclass(frozen=True)
class CatalogRow:
    """A catalog without its body. `updated_at` is when a worker last said that it has it."""

    environment: str
    pool: str
    digest: str
    is_shared: bool
    updated_at: int


def find(conn: Connection, environment: str | None = None) -> list[CatalogRow]:
    """All catalogs, or those of an environment, newest first."""
    columns = [catalogs.c[name] for name in CatalogRow.__dataclass_fields__]
    query = select(*columns).order_by(catalogs.c.updated_at.desc(), catalogs.c.digest)
    query = query if environment is None else query.where(catalogs.c.environment == environment)
    return [CatalogRow(row[0], row[1], row[2], bool(row[3]), row[4]) for row in conn.execute(query)]


def announced(conn: Connection, environment: str, seen_after: int) -> list[Announced]:
    """The catalogs that present workers have of an environment, in the order of `workers.announced`."""
    return workers.announced(conn, environment, seen_after) or trials.announced(conn, environment, seen_after)


def body(conn: Connection, digest: str) -> str | None:
    """The JSON text with a digest."""
    return conn.scalar(select(catalogs.c.body).where(catalogs.c.digest == digest).limit(1))


def newest(conn: Connection) -> str | None:
    """The JSON text that a worker sent or announced last; None before any has."""
    return conn.scalar(select(catalogs.c.body).order_by(catalogs.c.updated_at.desc()).limit(1))


def touch(conn: Connection, row: CatalogRow) -> bool:
    """Makes a stored catalog the newest of its pool. False if it is not stored, or came with a lesser token."""
    values = {"updated_at": row.updated_at}
    return conn.execute(update(catalogs).where(*_same(row)).values(**values)).rowcount == 1


def put(conn: Connection, row: CatalogRow, text: str) -> None:
    """Stores a catalog as the newest of its pool. It replaces none with other content, and never a shared one."""
    if touch(conn, row):
        return
    is_same = (*_of_pool(row.environment, row.pool), catalogs.c.digest == row.digest)
    if row.is_shared:
        conn.execute(delete(catalogs).where(*is_same))
        conn.execute(delete(catalogs).where(*_of_pool(row.environment, "")))  # of the version before
    elif conn.execute(select(catalogs.c.digest).where(*is_same)).first() is not None:
        return
    values = {**row.__dict__, "is_shared": int(row.is_shared), "body": text}
    conn.execute(insert(catalogs).values(**values))
    _remove_old(conn, row)


def _remove_old(conn: Connection, new: CatalogRow) -> None:
    """Keeps the catalogs that present workers have, and the newest: no flood of new ones removes one in use."""
    kind = (*_of_pool(new.environment, new.pool), catalogs.c.is_shared == int(new.is_shared))
    newest = select(catalogs.c.digest).where(*kind).order_by(catalogs.c.updated_at.desc())
    present = announced(conn, new.environment, new.updated_at - workers.PRESENT_MS)
    in_use = [each.digest for each in present if each.pool == new.pool]
    stored = list(conn.scalars(newest))
    kept = [digest for digest in in_use if digest in stored][:KEPT_PER_POOL]
    kept += [digest for digest in stored if digest not in kept][: KEPT_PER_POOL - len(kept)]
    conn.execute(delete(catalogs).where(*kind, catalogs.c.digest.not_in(kept)))


def _of_pool(environment: str, pool: str) -> tuple[ColumnElement[bool], ...]:
    return (catalogs.c.environment == environment, catalogs.c.pool == pool)


def _same(row: CatalogRow) -> tuple[ColumnElement[bool], ...]:
    is_same = (*_of_pool(row.environment, row.pool), catalogs.c.digest == row.digest)
    return (*is_same, catalogs.c.is_shared == int(row.is_shared))
