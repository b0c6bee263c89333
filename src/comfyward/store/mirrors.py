"""Operations on mirrors: copies in the object store of models that a worker fetched from a URL."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update

from comfyward.store.schema import blobs, mirrors


@dataclass(frozen=True)
class Mirror:
    """The content of a source as a blob. `key` stands for the URL and its headers."""

    key: str
    digest: str
    sha256: str
    size: int
    used_at: int


def put(conn: Connection, key: str, digest: str, now: int) -> None:
    """Registers a source's content; it replaces an older one."""
    conn.execute(delete(mirrors).where(mirrors.c.key == key))
    conn.execute(insert(mirrors).values(key=key, digest=digest, created_at=now, used_at=now))


def find(conn: Connection, keys: Collection[str]) -> dict[str, Mirror]:
    """The mirrors of these sources, by key."""
    query = select(mirrors.c.key, blobs.c.digest, blobs.c.sha256, blobs.c.size, mirrors.c.used_at)
    query = query.join(blobs, blobs.c.digest == mirrors.c.digest)
    found = conn.execute(query.where(mirrors.c.key.in_(list(keys)), blobs.c.removing_at.is_(None)))
    return {row.key: Mirror(*row) for row in found}


def touch(conn: Connection, keys: Collection[str], now: int) -> None:
    """Marks mirrors as used now."""
    conn.execute(update(mirrors).where(mirrors.c.key.in_(list(keys))).values(used_at=now))


def drop_unused(conn: Connection, before: int) -> int:
    """Deletes mirrors unused since a time; a sweep removes their blobs. Returns how many."""
    return conn.execute(delete(mirrors).where(mirrors.c.used_at < before)).rowcount
