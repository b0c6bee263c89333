"""Operations on archives of web files: what the packs of an environment bring for the editor, as workers sent it.

One that came with a token for one pool is used for workflows of that pool alone, and only as long as none came with a
token for any pool: as with catalogs.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from comfyward.store.schema import environment_locks, environment_web_files

KEPT = 4  # of each environment, pool and kind of token


@dataclass(frozen=True)
class Archive:
    """An archive, which is a blob. `listing` is JSON: [pack, path, size, digest] of each file.

    `sent_at` is when a worker last said that it has it.
    """

    environment: str
    pool: str
    digest: str
    is_shared: bool
    listing: str
    sent_at: int

    @property
    def files(self) -> list[Listed]:
        """The files in it."""
        return [Listed(*each) for each in _LISTING.decode(self.listing)]


@dataclass(frozen=True)
class Listed:
    """A file in an archive: `path` is where ComfyUI serves it."""

    pack: str
    path: str
    size: int
    digest: str

    def __str__(self) -> str:
        return f"{self.size} bytes ({self.digest[:12]})"


@dataclass(frozen=True)
class Head:
    """An archive without its listing, which is long."""

    environment: str
    pool: str
    digest: str
    is_shared: bool


Kind = TypeVar("Kind", Archive, Head)

_LISTING = msgspec.json.Decoder(list[tuple[str, str, int, str]])
_COLUMNS = [environment_web_files.c[name] for name in Archive.__dataclass_fields__]


def put(conn: Connection, archive: Archive) -> None:
    """Stores an archive as the newest of its environment and pool."""
    columns, values = environment_web_files.c, archive.__dict__ | {"is_shared": int(archive.is_shared)}
    kind = (columns.environment == archive.environment, columns.pool == archive.pool)
    same = (*kind, columns.digest == archive.digest)
    if not archive.is_shared and conn.execute(select(columns.digest).where(*same, columns.is_shared == 1)).first():
        return
    if conn.execute(update(environment_web_files).where(*same).values(**values)).rowcount == 0:
        conn.execute(insert(environment_web_files).values(**values))
    rivals = (*kind, columns.is_shared == values["is_shared"])
    newest = select(columns.digest).where(*rivals).order_by(columns.sent_at.desc(), columns.digest).limit(KEPT)
    conn.execute(delete(environment_web_files).where(*rivals, columns.digest.not_in(list(conn.scalars(newest)))))


def find(conn: Connection, environments: Collection[str]) -> list[Archive]:
    """The archives of some environments, the newest first."""
    columns = environment_web_files.c
    query = select(*_COLUMNS).where(columns.environment.in_(list(environments)))
    found = conn.execute(query.order_by(columns.sent_at.desc(), columns.digest))
    return [Archive(row[0], row[1], row[2], bool(row[3]), row[4], row[5]) for row in found]


def heads(conn: Connection, environment: str) -> list[Head]:
    """The archives of an environment, the newest first."""
    columns = environment_web_files.c
    query = select(*(columns[name] for name in Head.__dataclass_fields__)).where(columns.environment == environment)
    found = conn.execute(query.order_by(columns.sent_at.desc(), columns.digest))
    return [Head(row[0], row[1], row[2], bool(row[3])) for row in found]


def listing(conn: Connection, digest: str) -> list[Listed]:
    """The files of an archive, which never change."""
    text = conn.scalar(select(environment_web_files.c.listing).where(environment_web_files.c.digest == digest).limit(1))
    return [Listed(*each) for each in _LISTING.decode(text or "[]")]


def listed(conn: Connection, environment: str) -> list[Listed] | None:
    """The web files of an environment, as they were last found; None before a worker has tried it."""
    found = chosen(find(conn, [environment]), "")
    return None if found is None else found.files


def chosen(archives: Sequence[Kind], pool: str) -> Kind | None:
    """The archive that holds for a pool, of an environment's, which are sorted newest first."""
    shared, of_pool = ([each for each in archives if each.is_shared], [each for each in archives if each.pool == pool])
    best = [each for each in shared if each.pool == pool] or shared or of_pool
    return best[0] if best else None


def forget_unknown(conn: Connection) -> None:
    """Forgets those of environments of which no revision has a lock any more."""
    known = select(environment_locks.c.digest)
    conn.execute(delete(environment_web_files).where(environment_web_files.c.environment.not_in(known)))
