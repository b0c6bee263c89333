"""Tables and times, for terminals and pipes."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Sequence

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table whose first column, the name that other commands accept, is never cut.

    On a terminal the other cells are folded to its width; in a pipe nothing is folded, cut or coloured.
    """
    if not sys.stdout.isatty():
        return _print_plain([columns, *rows])
    table = Table(box=None)
    name_width = max(len(row[0]) for row in [columns, *rows])
    for index, column in enumerate(columns):
        table.add_column(column, no_wrap=index == 0, min_width=name_width if index == 0 else None, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return Console().print(table)


def moment(time_ms: int | None) -> str:
    """A time in milliseconds since the epoch as text in this machine's zone, - for None."""
    if time_ms is None:
        return "-"
    return datetime.datetime.fromtimestamp(time_ms / 1000).strftime("%Y-%m-%d %H:%M")


def moment_of(text: str) -> str:
    """The same for a time in the API's format."""
    return moment(int(datetime.datetime.fromisoformat(text).timestamp() * 1000))


def _print_plain(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
