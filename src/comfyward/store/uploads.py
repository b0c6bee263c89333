"""Operations on unfinished uploads."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, insert, select, update

from comfyward.accounts.storage import Quota, Stored, kind_of
from comfyward.errors import NotFound
from comfyward.store import storage
from comfyward.store.rows import text_of
from comfyward.store.schema import uploads


@dataclass(frozen=True)
class Upload:
    """An unfinished upload: `offset` of `size` bytes are stored, as objects with the keys `pieces`."""

    id: str
    account_id: str
    path: str
    size: int
    created_at: int
    offset: int = 0
    pieces: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        return self.offset == self.size


_COLUMNS = [uploads.c[name] for name in Upload.__dataclass_fields__]


def add(conn: Connection, upload: Upload, quota: Quota) -> None:
    """Raises OverQuota if the account has too many unfinished uploads, or may not store the file."""
    storage.hold(conn, upload.account_id)
    count, announced = storage.unfinished(conn, upload.account_id)
    used = storage.of_files(conn, upload.account_id)
    quota.check(Stored(**used, unfinished=announced, uploads=count), "uploads", 1)
    for name in ("unfinished", kind_of(upload.path)):
        quota.check(Stored(**used, unfinished=announced), name, upload.size)
    conn.execute(insert(uploads).values(**{**upload.__dict__, "pieces": text_of(upload.pieces)}))


def get(conn: Connection, account_id: str, upload_id: str) -> Upload:
    """Raises NotFound."""
    query = select(*_COLUMNS).where(uploads.c.id == upload_id, uploads.c.account_id == account_id)
    row = conn.execute(query).first()
    if row is None:
        raise NotFound("There is no such upload.", hint="Start again with POST.")
    return _upload(row)


def grow(conn: Connection, upload: Upload, piece: str, size: int) -> Upload | None:
    """Appends a piece and returns the upload; None if another piece was appended first."""
    grown = dataclasses.replace(upload, offset=upload.offset + size, pieces=(*upload.pieces, piece))
    stands = (uploads.c.id == upload.id, uploads.c.offset == upload.offset)
    values = {"offset": grown.offset, "pieces": text_of(grown.pieces)}
    return grown if conn.execute(update(uploads).where(*stands).values(**values)).rowcount == 1 else None


def remove(conn: Connection, upload_id: str) -> None:
    conn.execute(delete(uploads).where(uploads.c.id == upload_id))


def outdated(conn: Connection, before: int) -> list[Upload]:
    """Uploads started before a time."""
    return [_upload(row) for row in conn.execute(select(*_COLUMNS).where(uploads.c.created_at < before))]


def _upload(row: Row[*tuple[Any, ...]]) -> Upload:
    values = dict(row._mapping)
    return Upload(**{**values, "pieces": tuple(msgspec.json.decode(values["pieces"]))})
