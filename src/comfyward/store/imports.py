"""Operations on imports: files that the server fetches from a URL for an account, to keep."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, Row, and_, delete, func, insert, select, update

from comfyward.errors import NotFound
from comfyward.store import row_limits
from comfyward.store.rows import text_of
from comfyward.store.schema import accounts, imports


@dataclass(frozen=True)
class Import:
    """A file to fetch. `source` has the form of an entry in a run's files; `failure` is a message for its account."""

    id: str
    account_id: str
    path: str
    source: dict[str, Any]
    state: Literal["waiting", "done", "failed"]
    failure: str | None
    created_at: int
    finished_at: int | None
    done_bytes: int = 0
    total_bytes: int | None = None


_COLUMNS = [imports.c[name] for name in Import.__dataclass_fields__]


def add(conn: Connection, new: Import) -> str:
    """Adds an import and returns its id. If the same one is already waiting, returns that one's id.

    Raises Conflict if too many are waiting.
    """
    source = text_of(new.source)
    same = and_(imports.c.account_id == new.account_id, imports.c.path == new.path, imports.c.source == source)
    waiting = conn.scalar(select(imports.c.id).where(same, imports.c.state == "waiting").limit(1))
    if waiting is not None:
        return str(waiting)
    is_waiting = (imports.c.account_id == new.account_id, imports.c.state == "waiting")
    hint = "Wait until some have finished, or remove some."
    row_limits.check(conn, imports, row_limits.WAITING_IMPORTS, "waiting imports", hint, *is_waiting)
    conn.execute(insert(imports).values(**{**new.__dict__, "source": source}))
    return new.id


def waiting(conn: Connection, limit: int, each: int) -> list[Import]:
    """Imports to fetch, oldest first, at most `each` per account: none of accounts that are closed."""
    is_open = select(accounts.c.id).where(accounts.c.id == imports.c.account_id, accounts.c.deleted_at.is_(None))
    place = func.row_number().over(partition_by=imports.c.account_id, order_by=(imports.c.created_at, imports.c.id))
    placed = select(*_COLUMNS, place.label("place")).where(imports.c.state == "waiting", is_open.exists()).subquery()
    columns = [placed.c[name] for name in Import.__dataclass_fields__]
    query = select(*columns).where(placed.c.place <= each).order_by(placed.c.created_at, placed.c.id).limit(limit)
    return [_import(row) for row in conn.execute(query)]


def find(conn: Connection, account_id: str, limit: int = 50) -> list[Import]:
    """The account's waiting and failed imports, newest first."""
    query = select(*_COLUMNS).where(imports.c.account_id == account_id, imports.c.state != "done")
    return [_import(row) for row in conn.execute(query.order_by(imports.c.created_at.desc()).limit(limit))]


def waiting_at(conn: Connection, account_id: str, paths: Collection[str]) -> dict[str, str]:
    """The ids of the account's waiting imports, by path, for those of some paths; the oldest of each path."""
    own = (imports.c.account_id == account_id, imports.c.state == "waiting", imports.c.path.in_(list(paths)))
    query = select(imports.c.path, imports.c.id).where(*own).order_by(imports.c.created_at.desc(), imports.c.id)
    return {row.path: row.id for row in conn.execute(query)} if paths else {}


def get(conn: Connection, account_id: str, import_id: str) -> Import:
    """Raises NotFound."""
    query = select(*_COLUMNS).where(imports.c.account_id == account_id, imports.c.id == import_id)
    row = conn.execute(query).first()
    if row is None:
        raise NotFound("There is no such import.")
    return _import(row)


def finish(conn: Connection, import_id: str, failure: str | None, now: int) -> bool:
    """Records the end of a fetch. False if the import was removed meanwhile."""
    state = "done" if failure is None else "failed"
    own = (imports.c.id == import_id, imports.c.state == "waiting")
    return conn.execute(update(imports).where(*own).values(state=state, failure=failure, finished_at=now)).rowcount == 1


def progress(conn: Connection, import_id: str, done_bytes: int, total_bytes: int | None) -> None:
    """Records the progress of a fetch."""
    conn.execute(
        update(imports).where(imports.c.id == import_id).values(done_bytes=done_bytes, total_bytes=total_bytes)
    )


def again(conn: Connection, account_id: str, import_id: str) -> None:
    """Tries a failed import again. Raises NotFound."""
    get(conn, account_id, import_id)
    failed = (imports.c.id == import_id, imports.c.state == "failed")
    conn.execute(update(imports).where(*failed).values(state="waiting", failure=None, finished_at=None))


def remove(conn: Connection, account_id: str, import_id: str) -> None:
    """Deletes an import, which stops its fetch. Raises NotFound."""
    get(conn, account_id, import_id)
    conn.execute(delete(imports).where(imports.c.id == import_id))


def prune(conn: Connection, finished_before: int, limit: int = 5000) -> int:
    """Deletes imports that ended before a time. Returns how many."""
    old = select(imports.c.id).where(imports.c.finished_at < finished_before).limit(limit)
    return conn.execute(delete(imports).where(imports.c.id.in_(old))).rowcount


def _import(row: Row[*tuple[Any, ...]]) -> Import:
    values = dict(row._mapping)
    return Import(**{**values, "source": msgspec.json.decode(values["source"])})
