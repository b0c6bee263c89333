"""Operations on stored blobs and on the files of an account, which are names for blobs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, delete, exists, insert, select, update

from comfyward.errors import NotFound
from comfyward.store.schema import blob_uses, blobs, files, runs


@dataclass(frozen=True)
class StoredFile:
    """A file that an account uploaded: usable in its runs by name."""

    account_id: str
    path: str
    digest: str
    size: int
    content_type: str
    created_at: int


def add_blob(conn: Connection, digest: str, sha256: str, size: int, now: int) -> None:
    """Says that the object store holds a blob; a known one counts as new again, so that no sweep takes it now."""
    known = conn.execute(update(blobs).where(blobs.c.digest == digest).values(created_at=now))
    if known.rowcount == 0:
        conn.execute(insert(blobs).values(digest=digest, sha256=sha256, size=size, created_at=now))


def has_blob(conn: Connection, digest: str) -> bool:
    return conn.scalar(select(blobs.c.digest).where(blobs.c.digest == digest)) is not None


def put(conn: Connection, file: StoredFile) -> StoredFile:
    """Names a blob; an older file of the same path is replaced."""
    conn.execute(delete(files).where(files.c.account_id == file.account_id, files.c.path == file.path))
    conn.execute(insert(files).values(**file.__dict__))
    return file


def find(conn: Connection, account_id: str, prefix: str = "/") -> list[StoredFile]:
    """The account's files below a path, by path."""
    query = select(files).where(files.c.account_id == account_id, files.c.path.startswith(prefix, autoescape=True))
    return [StoredFile(**row._mapping) for row in conn.execute(query.order_by(files.c.path))]


def at(conn: Connection, account_id: str, paths: Collection[str]) -> list[StoredFile]:
    """Those of the account's files that have one of these paths."""
    if not paths:
        return []
    query = select(files).where(files.c.account_id == account_id, files.c.path.in_(list(paths)))
    return [StoredFile(**row._mapping) for row in conn.execute(query)]


def get(conn: Connection, account_id: str, path: str) -> StoredFile:
    """Raises NotFound."""
    row = conn.execute(select(files).where(files.c.account_id == account_id, files.c.path == path)).first()
    if row is None:
        raise NotFound(f"There is no file '{path}'.")
    return StoredFile(**row._mapping)


def remove(conn: Connection, account_id: str, path: str) -> StoredFile:
    """Forgets a file; runs that use it keep its bytes. Raises NotFound."""
    file = get(conn, account_id, path)
    conn.execute(delete(files).where(files.c.account_id == account_id, files.c.path == path))
    return file


def blob_size(conn: Connection, account_id: str, digest: str) -> int | None:
    """The size of a blob that one of the account's files or runs holds, else None: other accounts' do not exist."""
    own_file = exists().where(files.c.digest == digest, files.c.account_id == account_id)
    own_run = exists().where(
        blob_uses.c.digest == digest, blob_uses.c.run_id == runs.c.id, runs.c.account_id == account_id
    )
    return conn.scalar(select(blobs.c.size).where(blobs.c.digest == digest, own_file | own_run))


def orphans(conn: Connection, before: int, limit: int = 500) -> list[str]:
    """Blobs stored before a time that no file and no run uses."""
    return list(conn.scalars(select(blobs.c.digest).where(blobs.c.created_at < before, _unused()).limit(limit)))


def forget_orphan(conn: Connection, digest: str, before: int) -> bool:
    """Forgets a blob if it still is an orphan."""
    changed = conn.execute(delete(blobs).where(blobs.c.digest == digest, blobs.c.created_at < before, _unused()))
    return changed.rowcount == 1


def _unused() -> ColumnElement[bool]:
    used = exists().where(files.c.digest == blobs.c.digest) | exists().where(blob_uses.c.digest == blobs.c.digest)
    return ~used
