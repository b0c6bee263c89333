"""Operations on files that an admin shares with all accounts: models, and the pictures beside them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import Connection, Text, bindparam, column, delete, select

from comfyward.paths import MODELS_ROOT
from comfyward.store.rows import text_of
from comfyward.store.schema import shared_files
from comfyward.store.statement import Statement, each_of, in_order, list_of


@dataclass(frozen=True)
class SharedFile:
    """A name for a blob that all accounts may use; `about` is as in StoredFile."""

    path: str
    digest: str
    size: int
    content_type: str
    shared_by: str
    shared_at: int
    about: Mapping[str, Any] = field(default_factory=dict)


_NAMES = list(SharedFile.__dataclass_fields__)
_EACH = select(*(shared_files.c[name] for name in _NAMES))
_NAMED = each_of(bindparam("names", type_=Text)).table_valued(column("value", Text), name="named")
_AT_EACH = Statement(_EACH.select_from(in_order(_NAMED, shared_files)).where(shared_files.c.path == _NAMED.c.value))


def find(conn: Connection) -> list[SharedFile]:
    """All of them, sorted by path."""
    return [_shared(row) for row in conn.execute(_EACH.order_by(shared_files.c.path))]


def paths(conn: Connection) -> list[str]:
    return list(conn.scalars(select(shared_files.c.path)))


def named(conn: Connection, wanted: Collection[str], folders: Collection[str] = ()) -> list[SharedFile]:
    """Those at some paths and below some folders. Few inputs name folders: all are read for them."""
    below_root = [name for name in wanted if name.startswith(MODELS_ROOT)]
    found = [_shared(row) for row in _AT_EACH(conn, names=list_of(below_root))] if below_root else []
    below = tuple(f"{folder}/" for folder in folders if f"{folder}/".startswith(MODELS_ROOT))
    return [*found, *(each for each in (find(conn) if below else ()) if each.path.startswith(below))]


def at(conn: Connection, path: str) -> SharedFile | None:
    return next(iter(named(conn, [path])), None)


def share(conn: Connection, file: SharedFile) -> None:
    """Shares a file, in place of one that was shared at its path."""
    withdraw(conn, file.path)
    conn.execute(shared_files.insert().values(**{**file.__dict__, "about": text_of(file.about)}))


def withdraw(conn: Connection, path: str) -> bool:
    """Shares what is at a path no longer. True if it was shared."""
    return conn.execute(delete(shared_files).where(shared_files.c.path == path)).rowcount > 0


def describe(conn: Connection, path: str, about: Mapping[str, Any]) -> None:
    conn.execute(shared_files.update().where(shared_files.c.path == path).values(about=text_of(about)))


def _shared(row: Any) -> SharedFile:
    values = row._asdict()
    return SharedFile(**{**values, "about": msgspec.json.decode(values["about"])})
