"""Operations on models that were deleted, which can be undone for a day. Their bytes are kept as long.

They count towards no limit, so that deleting makes room. So that deleting again and again fills no disk, an account's
oldest deletions are given up once they keep more than it may store.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, select

from comfyward.errors import NotFound
from comfyward.store.rows import text_of
from comfyward.store.schema import deleted_models

KEPT_MS = 24 * 3600 * 1000
MOST_KEPT = 1000  # deletions of an account


@dataclass(frozen=True)
class DeletedModel:
    """A deletion at a path: of an account's own file, of one that it shared, or of a link (a run's source).

    `beside` is the id of the deletion of the model whose picture this was.
    """

    id: str
    account_id: str
    path: str
    digest: str
    size: int
    content_type: str
    is_own: bool
    is_shared: bool
    deleted_at: int
    about: Mapping[str, Any] = field(default_factory=dict)
    link: Mapping[str, Any] | None = None
    beside: str = ""

    @property
    def until(self) -> int:
        """The time from which it can no longer be undone (ms since the epoch)."""
        return self.deleted_at + KEPT_MS


_COLUMNS = [deleted_models.c[name] for name in DeletedModel.__dataclass_fields__]


def add(conn: Connection, deleted: DeletedModel) -> None:
    written = {
        "is_own": int(deleted.is_own),
        "is_shared": int(deleted.is_shared),
        "about": text_of(deleted.about),
        "link": None if deleted.link is None else text_of(deleted.link),
    }
    conn.execute(deleted_models.insert().values(**{**deleted.__dict__, **written}))


def give_up_beyond(conn: Connection, account_id: str, most: int) -> None:
    """Gives up the oldest deletions of an account: those that make more than `most` bytes (0: any), or MOST_KEPT."""
    own = select(deleted_models.c.id, deleted_models.c.size).where(deleted_models.c.account_id == account_id)
    newest = conn.execute(own.order_by(deleted_models.c.deleted_at.desc(), deleted_models.c.id)).all()
    sums = itertools.accumulate(row.size for row in newest)
    beyond = [
        row.id
        for place, (row, kept) in enumerate(zip(newest, sums, strict=True))
        if place >= MOST_KEPT or (most and kept > most)
    ]
    conn.execute(delete(deleted_models).where(_with_pictures(beyond)))


def take(conn: Connection, account_id: str, deleted_id: str) -> DeletedModel:
    """A deletion, which is then no longer kept here. Raises NotFound."""
    found = _taken(conn, account_id, (deleted_models.c.id == deleted_id) & (deleted_models.c.beside == ""))
    if not found:
        raise NotFound("There is no such deletion, or it is too long ago to be undone.")
    return found[0]


def take_beside(conn: Connection, account_id: str, deleted_id: str) -> list[DeletedModel]:
    """The deletions of pictures that went with a model, which are then no longer kept here."""
    return _taken(conn, account_id, deleted_models.c.beside == deleted_id)


def _taken(conn: Connection, account_id: str, which: ColumnElement[bool]) -> list[DeletedModel]:
    own = (which, deleted_models.c.account_id == account_id)
    rows = conn.execute(select(*_COLUMNS).where(*own)).all()
    conn.execute(delete(deleted_models).where(*own))
    return [_deleted(row) for row in rows]


def _with_pictures(ids: Sequence[str]) -> ColumnElement[bool]:
    return deleted_models.c.id.in_(ids) | deleted_models.c.beside.in_(ids)


def _deleted(row: Any) -> DeletedModel:
    values = row._asdict()
    read = {name: None if values[name] is None else msgspec.json.decode(values[name]) for name in ("about", "link")}
    return DeletedModel(**{**values, **read, **{name: bool(values[name]) for name in ("is_own", "is_shared")}})


def prune(conn: Connection, deleted_before: int) -> int:
    """Gives up what was deleted before a time. Returns how many."""
    return conn.execute(delete(deleted_models).where(deleted_models.c.deleted_at < deleted_before)).rowcount
