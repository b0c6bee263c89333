"""Operations on mirrors: copies in the object store of models that a worker fetched from a URL.

A copy belongs to the pool that the worker's token is for; pool "" stands for a token for any pool.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update

from comfyward.store.schema import blobs, mirrors


@dataclass(frozen=True)
class Mirror:
    """The content of a source as a blob. `key` stands for the URL and its headers."""

    key: str
    pool: str
    digest: str
    sha256: str
    size: int
    used_at: int


def put(conn: Connection, key: str, pool: str, digest: str, now: int) -> None:
    """Registers a source's content for a pool; it replaces an older one of that pool."""
    conn.execute(delete(mirrors).where(mirrors.c.key == key, mirrors.c.pool == pool))
    conn.execute(insert(mirrors).values(key=key, pool=pool, digest=digest, created_at=now, used_at=now))


def find(conn: Connection, keys: Collection[str]) -> list[Mirror]:
    """The mirrors of these sources, in all pools."""
    query = select(mirrors.c.key, mirrors.c.pool, blobs.c.digest, blobs.c.sha256, blobs.c.size, mirrors.c.used_at).join(
        blobs, blobs.c.digest == mirrors.c.digest
    )
    found = query.where(mirrors.c.key.in_(list(keys)), blobs.c.removing_at.is_(None)).order_by(mirrors.c.pool)
    return [Mirror(*row) for row in conn.execute(found)]


def touch(conn: Connection, keys: Collection[tuple[str, str]], now: int) -> None:
    """Marks mirrors, given by key and pool, as used now."""
    for key, pool in keys:
        conn.execute(update(mirrors).where(mirrors.c.key == key, mirrors.c.pool == pool).values(used_at=now))


def drop_unused(conn: Connection, before: int) -> int:
    """Deletes mirrors unused since a time; a sweep removes their blobs. Returns how many."""
    return conn.execute(delete(mirrors).where(mirrors.c.used_at < before)).rowcount
