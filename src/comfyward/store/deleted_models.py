"""Operations on models that were deleted, which can be undone for a day. Their bytes are kept as long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, select

from comfyward.errors import NotFound
from comfyward.store.rows import text_of
from comfyward.store.schema import deleted_models

KEPT_MS = 24 * 3600 * 1000


@dataclass(frozen=True)
class DeletedModel:
    """A deletion at a path: of an account's own file, of one that it shared, or of a link (a run's source)."""

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


def take(conn: Connection, account_id: str, deleted_id: str) -> DeletedModel:
    """A deletion, which is then no longer kept here. Raises NotFound."""
    own = (deleted_models.c.id == deleted_id, deleted_models.c.account_id == account_id)
    row = conn.execute(select(*_COLUMNS).where(*own)).first()
    if row is None:
        raise NotFound("There is no such deletion, or it is too long ago to be undone.")
    conn.execute(delete(deleted_models).where(*own))
    values = row._asdict()
    read = {name: None if values[name] is None else msgspec.json.decode(values[name]) for name in ("about", "link")}
    return DeletedModel(**{**values, **read, **{name: bool(values[name]) for name in ("is_own", "is_shared")}})


def prune(conn: Connection, deleted_before: int) -> int:
    """Gives up what was deleted before a time. Returns how many."""
    return conn.execute(delete(deleted_models).where(deleted_models.c.deleted_at < deleted_before)).rowcount
