"""Lists of rows that may be large: they hold as many rows as asked for, and no more bytes than one server bears.

How long the texts of the rows are is asked first; so many rows are then read as their texts are LIST_BYTES together.
Where a list must be as long as asked for, its rows are read in batches of as many.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Column, ColumnElement, Integer, func
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

T = TypeVar("T")

LIST_BYTES = 32 << 20


@dataclass(frozen=True)
class Listed(Generic[T]):
    """The rows of a list, about as long as `size` bytes. `is_cut`: the list goes on, though it is no longer than asked
    for."""

    rows: list[T]
    size: int = 0
    is_cut: bool = False


class _length(FunctionElement[int]):
    """The length of a text in bytes, without reading it where the database can tell."""

    type = Integer()
    inherit_cache = True


@compiles(_length)
def _of_blob(element: _length, compiler: SQLCompiler, **more: Any) -> str:
    return f"length(CAST({compiler.process(element.clauses, **more)} AS BLOB))"  # that of a text is in characters


@compiles(_length, "postgresql")
def _of_text(element: _length, compiler: SQLCompiler, **more: Any) -> str:
    return f"octet_length({compiler.process(element.clauses, **more)})"


def size_of(texts: Iterable[Column[Any]]) -> ColumnElement[int]:
    """The length of some texts of a row together, in bytes."""
    first, *others = (func.coalesce(_length(text), 0) for text in texts)
    return sum(others, first)


def fitting(asked: Sequence[int], most: int = LIST_BYTES) -> Listed[int]:
    """The sizes of those rows that come into a list: up to `most` bytes together, and one in any case."""
    taken = [size for size, total in zip(asked, itertools.accumulate(asked), strict=True) if total <= most]
    taken = taken or list(asked[:1])
    return Listed(taken, sum(taken), is_cut=len(taken) < len(asked))


def batches(rows: Iterable[T], size: Callable[[T], int], most: int = LIST_BYTES) -> Iterator[Listed[T]]:
    """All the rows of a list, one batch after the other: up to `most` bytes together, and one row in any case."""
    batch: list[T] = []
    total = 0
    for row in rows:
        if batch and total + size(row) > most:
            yield Listed(batch, total, is_cut=True)
            batch, total = [], 0
        batch.append(row)
        total += size(row)
    if batch:
        yield Listed(batch, total)
