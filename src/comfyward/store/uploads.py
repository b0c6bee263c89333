"""Operations on uploads that come in pieces: what is being uploaded, and where it will lie."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from comfyward.errors import NotFound
from comfyward.store.schema import uploads


@dataclass(frozen=True)
class Upload:
    """A file on its way in. `size` is what it will have in the end."""

    id: str
    account_id: str
    path: str
    size: int
    created_at: int


_COLUMNS = [uploads.c[name] for name in Upload.__dataclass_fields__]


def add(conn: Connection, upload: Upload) -> None:
    conn.execute(insert(uploads).values(**upload.__dict__))


def get(conn: Connection, account_id: str, upload_id: str) -> Upload:
    """Raises NotFound."""
    query = select(*_COLUMNS).where(uploads.c.id == upload_id, uploads.c.account_id == account_id)
    row = conn.execute(query).first()
    if row is None:
        raise NotFound("There is no such upload.", hint="Begin it again with POST.")
    return Upload(*row)


def remove(conn: Connection, upload_id: str) -> None:
    conn.execute(delete(uploads).where(uploads.c.id == upload_id))


def outdated(conn: Connection, before: int) -> list[str]:
    """Uploads begun before a time."""
    return list(conn.scalars(select(uploads.c.id).where(uploads.c.created_at < before)))
