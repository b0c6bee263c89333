"""Operations on blobs: the bytes that files, runs and others name. A sweep removes those that nothing uses."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, bindparam, delete, exists, func, or_, select, text, update

from comfyward.store.schema import (
    blob_uses,
    blobs,
    deleted_models,
    environment_trees,
    environment_web_files,
    files,
    mirrors,
    model_facts,
    runs,
    shared_files,
)
from comfyward.store.statement import Statement

MAX_NAME_LENGTH = 255

_ADD = Statement(
    text(
        "INSERT INTO blobs (digest, sha256, size, created_at, name) VALUES (:digest, :sha256, :size, :now, :name)"
        " ON CONFLICT (digest) DO UPDATE SET created_at = excluded.created_at"
    )
)
_KEEP = Statement(
    update(blobs)
    .where(blobs.c.digest == bindparam("digest"), blobs.c.removing_at.is_(None))
    .values(created_at=bindparam("now"))
)
_SIZE = Statement(select(blobs.c.size).where(blobs.c.digest == bindparam("digest"), blobs.c.removing_at.is_(None)))
_NAME = Statement(select(blobs.c.name).where(blobs.c.digest == bindparam("digest")))
_ROW = Statement(select(blobs.c.digest).where(blobs.c.digest == bindparam("digest")))


def add(conn: Connection, digest: str, sha256: str, size: int, now: int, name: str = "") -> None:
    """Registers a blob that is in the object store. One that is known counts as new again, so no sweep removes it now.

    `name` is the file name in its headers in the object store.
    """
    _ADD(conn, digest=digest, sha256=sha256, size=size, now=now, name=name.rpartition("/")[2][-MAX_NAME_LENGTH:])


def name_of(conn: Connection, digest: str) -> str | None:
    """The file name that a blob was stored under; None for an unknown blob."""
    row = _NAME(conn, digest=digest).first()
    return None if row is None else row[0]


def is_stored(conn: Connection, digest: str) -> bool:
    return size_of(conn, digest) is not None


def size_of(conn: Connection, digest: str) -> int | None:
    """The size of a blob in bytes; None for one that is not stored."""
    size: int | None = _SIZE(conn, digest=digest).scalar()
    return size


def sha256_of(conn: Connection, digest: str) -> str | None:
    """The SHA-256 of a blob; None for one that is not stored."""
    found: str | None = conn.scalar(select(blobs.c.sha256).where(blobs.c.digest == digest))
    return found


def size_for(conn: Connection, account_id: str, digest: str) -> int | None:
    """The size of a blob that a file or run of the account uses; None for any other."""
    own_file = exists().where(files.c.digest == digest, files.c.account_id == account_id)
    own_run = exists().where(
        blob_uses.c.digest == digest, blob_uses.c.run_id == runs.c.id, runs.c.account_id == account_id
    )
    return conn.scalar(select(blobs.c.size).where(blobs.c.digest == digest, own_file | own_run))


@dataclass(frozen=True)
class Uses:
    """The use of a blob by an account's runs. `last_used_at` is in ms since the epoch."""

    run_count: int
    last_used_at: int
    workflow_ids: tuple[str, ...]


def uses(conn: Connection, account_id: str, digests: Collection[str]) -> dict[str, Uses]:
    """The use of blobs by the account's runs, by digest; unused blobs are left out."""
    query = (
        select(blob_uses.c.digest, runs.c.workflow_id, func.count(), func.max(runs.c.created_at))
        .join(runs, runs.c.id == blob_uses.c.run_id)
        .where(runs.c.account_id == account_id, blob_uses.c.digest.in_(list(digests)), runs.c.deleted_at.is_(None))
        .group_by(blob_uses.c.digest, runs.c.workflow_id)
    )
    found: dict[str, Uses] = {}
    for digest, workflow_id, count, last in conn.execute(query):
        before = found.get(digest, Uses(0, 0, ()))
        found[digest] = Uses(
            before.run_count + count, max(before.last_used_at, last), (*before.workflow_ids, workflow_id)
        )
    return found


def touch(conn: Connection, digest: str, now: int) -> bool:
    """Protects a blob from the next sweep. False while a sweep is removing it."""
    return keep(conn, digest, now) or not is_known(conn, digest)


def keep(conn: Connection, digest: str, now: int) -> bool:
    """Protects a stored blob from the next sweep. False if it is not stored, or if a sweep is removing it."""
    return _KEEP(conn, digest=digest, now=now).rowcount == 1


def is_known(conn: Connection, digest: str) -> bool:
    """True if a blob has a row, even while it is being removed."""
    return _ROW(conn, digest=digest).first() is not None


def orphans(conn: Connection, before: int, limit: int = 500) -> list[str]:
    """Unused blobs stored before a time, including those that an interrupted sweep was removing."""
    return list(conn.scalars(select(blobs.c.digest).where(blobs.c.created_at < before, _unused()).limit(limit)))


def begin_removal(conn: Connection, digest: str, before: int, now: int) -> bool:
    """Marks a blob as being removed if it is still an orphan; from then on nobody may use it."""
    orphan = (blobs.c.digest == digest, blobs.c.created_at < before, _unused())
    return conn.execute(update(blobs).where(*orphan).values(removing_at=now)).rowcount == 1


def finish_removal(conn: Connection, digest: str) -> None:
    """Deletes the row of a blob whose bytes have been removed, and what was read in them."""
    conn.execute(delete(model_facts).where(model_facts.c.digest == digest))
    conn.execute(delete(blobs).where(blobs.c.digest == digest, blobs.c.removing_at.is_not(None)))


def _unused() -> ColumnElement[bool]:
    tables = (files, blob_uses, mirrors, environment_web_files, environment_trees, shared_files, deleted_models)
    return ~or_(*(exists().where(table.c.digest == blobs.c.digest) for table in tables))
