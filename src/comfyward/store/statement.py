"""Statements that are compiled once.

On every run's way SQLAlchemy's own work for each call (cache key, compiled form, result types) costs several times what
the database does. A `Statement` keeps the text that the dialect made of it, and hands text and values to the driver.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, CursorResult


@dataclass(frozen=True)
class _Compiled:
    """A statement's text in one dialect, the order of its values, and those that the statement brings itself."""

    text: str
    order: tuple[str, ...] | None  # None where the driver takes names
    brought: dict[str, Any]

    def arguments(self, values: dict[str, Any]) -> Any:
        values = {**self.brought, **values}
        return values if self.order is None else tuple(values[name] for name in self.order)


class Statement:
    """A Core statement with named parameters, to be called: `statement(conn, name=value, …)`.

    Values reach the driver as they are: texts, numbers and None. It takes no lists (`IN` of any length).
    """

    def __init__(self, clause: Any) -> None:
        self._clause = clause
        self._compiled: dict[str, _Compiled] = {}

    def __call__(self, conn: Connection, **values: Any) -> CursorResult[*tuple[Any, ...]]:
        compiled = self._for(conn)
        return conn.exec_driver_sql(compiled.text, compiled.arguments(values))

    def many(self, conn: Connection, rows: Iterable[dict[str, Any]]) -> None:
        """Once for each row of values; nothing for none."""
        compiled = self._for(conn)
        arguments = [compiled.arguments(row) for row in rows]
        if arguments:
            conn.exec_driver_sql(compiled.text, arguments if len(arguments) > 1 else arguments[0])

    def _for(self, conn: Connection) -> _Compiled:
        known = self._compiled.get(conn.dialect.name)
        if known is None:
            made: Any = self._clause.compile(dialect=conn.dialect)
            order = tuple(made.positiontup) if made.positional else None
            known = self._compiled[conn.dialect.name] = _Compiled(str(made), order, dict(made.params))
        return known
