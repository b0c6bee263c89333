"""Statements that are compiled once and run by the driver directly.

For the statements of every run, SQLAlchemy's work per call (cache key, compiled form, result types and metadata) costs
several times as much as the database's. A `Statement` keeps its compiled text, passes text and values to the driver,
and keeps the names of the result's columns.
"""

from __future__ import annotations

import collections
import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    Join,
    String,
    Table,
    bindparam,
    cast,
    column,
    func,
    insert,
    select,
    true,
)
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from comfyward.errors import NotFound

log = logging.getLogger(__name__)

R = TypeVar("R")

_DEFERRED = "deferred"


class bytewise(ColumnElement[str]):
    """Text compared byte by byte, whatever the database's collation. SQLite always does so."""

    type = String()
    inherit_cache = True

    def __init__(self, column: ColumnElement[str]) -> None:
        self.column = column


@compiles(bytewise)
def _as_it_is(element: bytewise, compiler: SQLCompiler, **more: Any) -> str:
    return compiler.process(element.column, **more)


@compiles(bytewise, "postgresql")
def _collated(element: bytewise, compiler: SQLCompiler, **more: Any) -> str:
    return f'{compiler.process(element.column, **more)} COLLATE "C"'


class each_of(FunctionElement[str]):
    """The strings in a JSON list as rows of a table: one statement serves a list of any length."""

    inherit_cache = True


@compiles(each_of)
def _rows_of_sqlite(element: each_of, compiler: SQLCompiler, **more: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **more)})"


@compiles(each_of, "postgresql")
def _rows_of_postgresql(element: each_of, compiler: SQLCompiler, **more: Any) -> str:
    return f"json_array_elements_text(CAST({compiler.process(element.clauses, **more)} AS JSON))"


class in_order(Join):
    """Two tables, the second of which is asked for each row of the first: each name in a list, for one.

    SQLite believes a list to be read as fast as an index. It would read the whole list for each row of an account, of
    which there are more with every run.
    """

    inherit_cache = True

    def __init__(self, first: FromClause, second: FromClause) -> None:
        super().__init__(first, second, true())


@compiles(in_order)
def _crossed(element: in_order, compiler: SQLCompiler, **more: Any) -> str:
    sides = (compiler.process(side, **more) for side in (element.left, element.right))
    return " CROSS JOIN ".join(sides)  # to PostgreSQL the same as a comma


class larger_of(FunctionElement[int]):
    """The larger of two numbers."""

    type = BigInteger()
    inherit_cache = True


@compiles(larger_of)
def _larger_of_sqlite(element: larger_of, compiler: SQLCompiler, **more: Any) -> str:
    return f"max({compiler.process(element.clauses, **more)})"


@compiles(larger_of, "postgresql")
def _larger_of_postgresql(element: larger_of, compiler: SQLCompiler, **more: Any) -> str:
    return f"greatest({compiler.process(element.clauses, **more)})"


def list_of(names: Iterable[str]) -> str:
    """A JSON list for `each_of`. Names that a database cannot store would match nothing and are left out."""
    names = [name for name in names if "\0" not in name]
    try:
        return msgspec.json.encode(names).decode()
    except UnicodeEncodeError:  # half a character, as in no file's name
        return msgspec.json.encode([name for name in names if _is_whole(name)]).decode()


def _is_whole(text: str) -> bool:
    return text.encode(errors="ignore").decode() == text


@dataclass(frozen=True)
class Answer:
    """The rows of a result (read by index or column name), or the number of rows changed."""

    rows: Sequence[Any]
    rowcount: int

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rows)

    def first(self) -> Any:
        """The first row; None if there is none."""
        return self.rows[0] if self.rows else None

    def one(self) -> Any:
        [row] = self.rows
        return row

    def scalar(self) -> Any:
        """The first column of the first row; None if there is no row."""
        return self.rows[0][0] if self.rows else None


class _Compiled:
    """A statement's text in one dialect, the order of its parameters, and its constants."""

    def __init__(self, made: Any) -> None:
        self.text = str(made)
        self.order = tuple(made.positiontup) if made.positional else None  # None where the driver takes names
        self.constants = dict(made.params)
        self._row: Callable[[Sequence[Any]], Any] | None = None
        self._is_described = False  # once only: a driver builds the description column by column each time

    def run(self, conn: Connection, values: dict[str, Any]) -> Answer:
        arguments = self._arguments(values)
        with _Cursor(conn, self.text, arguments) as cursor:
            cursor.execute(self.text, arguments)
            return self._answer(cursor)

    def run_each(self, conn: Connection, rows: Sequence[dict[str, Any]]) -> list[Answer]:
        if len(rows) < 2 or conn.dialect.name != "postgresql":
            return [self.run(conn, row) for row in rows]
        arguments = [self._arguments(row) for row in rows]
        with _Cursor(conn, self.text, arguments) as cursor:
            cursor.executemany(self.text, arguments, returning=True)
            answers = [self._answer(cursor)]
            while cursor.nextset():
                answers.append(self._answer(cursor))
            return answers

    def run_many(self, conn: Connection, rows: Iterable[dict[str, Any]]) -> None:
        arguments = [self._arguments(row) for row in rows]
        if not arguments:
            return
        with _Cursor(conn, self.text, arguments) as cursor:
            if len(arguments) == 1:
                cursor.execute(self.text, arguments[0])
            else:
                cursor.executemany(self.text, arguments)

    def _answer(self, cursor: Any) -> Answer:
        if not self._is_described:
            described = cursor.description
            self._row = None if described is None else _row_of([column[0] for column in described])
            self._is_described = True
        if self._row is None:
            return Answer((), cursor.rowcount)
        return Answer([self._row(each) for each in cursor.fetchall()], cursor.rowcount)

    def _arguments(self, values: dict[str, Any]) -> Any:
        values = {**self.constants, **values}
        return values if self.order is None else tuple(map(values.__getitem__, self.order))


class Statement:
    """A Core statement with named parameters, called as `statement(conn, name=value, …)`.

    Values reach the driver unconverted: strings, numbers and None. Lists (`IN` of any length) are not supported.
    """

    def __init__(self, clause: Any) -> None:
        self._clause = clause
        self._compiled: dict[str, _Compiled] = {}

    def __call__(self, conn: Connection, **values: Any) -> Answer:
        return self._for(conn).run(conn, values)

    def each(self, conn: Connection, rows: Sequence[dict[str, Any]]) -> list[Answer]:
        """Runs once for each row of values and returns the answers; on PostgreSQL in one round trip."""
        return self._for(conn).run_each(conn, rows)

    def many(self, conn: Connection, rows: Iterable[dict[str, Any]]) -> None:
        """Runs once for each row of values."""
        self._for(conn).run_many(conn, rows)

    def defer(self, conn: Connection, rows: Iterable[dict[str, Any]]) -> None:
        """Runs like `many`, at the end of the transaction: one round trip for all writes that share it.

        Only for rows that no write reads.
        """
        conn.info.setdefault(_DEFERRED, {}).setdefault(self, []).extend(rows)

    def _for(self, conn: Connection) -> _Compiled:
        known = self._compiled.get(conn.dialect.name)
        if known is None:
            known = self._compiled[conn.dialect.name] = _Compiled(self._clause.compile(dialect=conn.dialect))
        return known


@dataclass(frozen=True)
class Question:
    """A statement with its values, which an operation begins with: those of many operations are asked together."""

    statement: Statement
    values: dict[str, Any]

    def ask(self, conn: Connection) -> Answer:
        return self.statement(conn, **self.values)


def ask_together(conn: Connection, questions: Sequence[Question]) -> list[Answer]:
    """The answers in the order of the questions; on PostgreSQL in one round trip for each statement."""
    numbers: dict[Statement, list[int]] = {}
    for number, question in enumerate(questions):
        numbers.setdefault(question.statement, []).append(number)
    answers: dict[int, Answer] = {}
    for statement, which in numbers.items():
        answers |= zip(which, statement.each(conn, [questions[number].values for number in which]), strict=True)
    return [answers[number] for number in range(len(questions))]


class Insertion(Statement):
    """An insert of rows, of texts and numbers; on PostgreSQL in one statement for any number of them, as one JSON text.

    Sent row by row, they took the server more time than the statement that they follow.
    """

    def __init__(self, table: Table, names: Sequence[str]) -> None:
        super().__init__(insert(table).values({name: bindparam(name) for name in names}))
        columns = [column(name, table.c[name].type) for name in names]
        given = func.json_to_recordset(cast(bindparam("rows"), JSON(none_as_null=True))).table_valued(
            *columns, name="given"
        )
        self._together = Statement(insert(table).from_select(names, select(given.render_derived(with_types=True))))

    def many(self, conn: Connection, rows: Iterable[dict[str, Any]]) -> None:
        if conn.dialect.name != "postgresql":
            super().many(conn, rows)
        elif rows := list(rows):
            self._together(conn, rows=msgspec.json.encode(rows).decode())


def run_whole(conn: Connection, operation: Callable[[Connection], R]) -> R:
    """Runs an operation, then the statements that it deferred.

    Raises NotFound where a row is written for one that is gone, as of an account that was erased meanwhile.
    """
    conn.info.pop(_DEFERRED, None)  # left by one that was rolled back
    try:
        result = operation(conn)
        for statement, rows in conn.info.pop(_DEFERRED, {}).items():
            statement.many(conn, rows)
    except IntegrityError as error:
        if _belongs_to_nothing(error):
            log.warning("a row was not written: %s", error.orig, extra={"action": "row_of_nothing"})
            raise NotFound("What this belongs to was deleted meanwhile.") from error
        raise
    return result


def _belongs_to_nothing(error: IntegrityError) -> bool:
    """True for a row whose foreign key names no row. A deletion that leaves such rows is a fault of ours."""
    is_deletion = (error.statement or "").lstrip().upper().startswith("DELETE")
    return not is_deletion and (
        getattr(error.orig, "sqlstate", None) == "23503"
        or getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
    )


def _row_of(names: list[str]) -> Callable[[Sequence[Any]], Any]:
    made: Any = collections.namedtuple("Row", names, rename=True)  # type: ignore[misc]
    make: Callable[[Sequence[Any]], Any] = made._make
    return make


class _Cursor:
    """The driver's cursor, in the connection's transaction, with its errors translated to SQLAlchemy's.

    Not a generator with `contextmanager`, which costs as much as a short statement.
    """

    def __init__(self, conn: Connection, text: str, arguments: Any) -> None:
        self._conn, self._text, self._arguments = conn, text, arguments
        if not conn.in_transaction():
            conn.begin()
        self._cursor = conn.connection.cursor()

    def __enter__(self) -> Any:
        return self._cursor

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if isinstance(error, self._conn.dialect.loaded_dbapi.Error):
                raise self._translated(error) from error
        finally:
            self._cursor.close()

    def _translated(self, error: Any) -> BaseException:
        conn, driver = self._conn, self._conn.dialect.loaded_dbapi
        is_gone = conn.dialect.is_disconnect(error, conn.connection.dbapi_connection, self._cursor)
        if is_gone:
            conn.invalidate(error)
        translated: BaseException = DBAPIError.instance(
            self._text, self._arguments, error, driver.Error, hide_parameters=True, connection_invalidated=is_gone
        )
        return translated
