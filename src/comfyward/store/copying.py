"""Copies a whole database into another one and verifies the copy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import blake3
import msgspec
from sqlalchemy import Connection, Table, func, insert, select
from sqlalchemy.exc import DBAPIError

from comfyward.errors import Conflict, SetupFailed
from comfyward.store import revision
from comfyward.store.schema import metadata, queue_lengths

BATCH_ROWS = 500
# Not what the target's own triggers write.
COPIED = [table for table in metadata.sorted_tables if table is not queue_lengths]

# (table, rows copied, rows in all)
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class TableContent:
    """A table's row count, and a digest of all its rows."""

    rows: int
    digest: str


def copy_database(source: Connection, target: Connection, progress: Progress) -> dict[str, TableContent]:
    """Copies all rows into empty tables; returns their content by table name.

    Runs in one transaction of the target, so a failed copy leaves nothing behind. Raises Conflict if the target has
    rows, and SetupFailed if the versions differ or the copy does not match its source.
    """
    for conn in (source, target):
        revision.check(conn)
    for table in COPIED:
        if _has_rows(target, table):
            raise Conflict(f"The target already has rows in '{table.name}'.", hint="Copy into a new, empty database.")
    copied = {table.name: _copy_table(source, target, table, progress) for table in COPIED}
    for table in COPIED:
        if content_of(target, table) != copied[table.name]:
            raise SetupFailed(f"The copy of '{table.name}' does not match its source. Nothing was copied.")
    return copied


def content_of(conn: Connection, table: Table) -> TableContent:
    """Counts and digests a table's rows."""
    hasher, rows = blake3.blake3(), 0
    for batch in _batches(conn, table):
        rows += len(batch)
        _digest(hasher, batch)
    return TableContent(rows, hasher.hexdigest())


def _has_rows(conn: Connection, table: Table) -> bool:
    return conn.execute(select(table).limit(1)).first() is not None


def _copy_table(source: Connection, target: Connection, table: Table, progress: Progress) -> TableContent:
    total = source.scalar(select(func.count()).select_from(table)) or 0
    hasher, rows = blake3.blake3(), 0
    progress(table.name, 0, total)
    for batch in _batches(source, table):
        try:
            target.execute(insert(table), batch)
        except DBAPIError as error:
            reason = " ".join(str(error.orig).split())
            raise SetupFailed(f"The target refused rows of '{table.name}': {reason}. Nothing was copied.") from error
        _digest(hasher, batch)
        rows += len(batch)
        progress(table.name, rows, total)
    return TableContent(rows, hasher.hexdigest())


def _batches(conn: Connection, table: Table) -> Iterator[list[dict[str, Any]]]:
    query = select(table).order_by(*table.primary_key.columns)
    result = conn.execution_options(stream_results=True).execute(query)
    for rows in result.partitions(BATCH_ROWS):
        yield [dict(zip(table.c.keys(), map(_storable, row), strict=True)) for row in rows]


def _storable(value: Any) -> Any:
    """PostgreSQL refuses NUL in text; SQLite stored it, in logs and names."""
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}") if isinstance(value, str) else value


def _digest(hasher: blake3.blake3, batch: list[dict[str, Any]]) -> None:
    for row in batch:
        hasher.update(msgspec.json.encode(list(row.values())))
