"""Tables and times, for people on a terminal and for programs behind a pipe."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Sequence

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Each row begins with the name by which other commands take it, which is never cut.

    A terminal's width folds other cells; for a pipe nothing is folded, cut or coloured.
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
    """In this machine's zone."""
    if time_ms is None:
        return "-"
    return datetime.datetime.fromtimestamp(time_ms / 1000).strftime("%Y-%m-%d %H:%M")


def moment_of(text: str) -> str:
    """As `moment`, of a time as the API writes it."""
    return moment(int(datetime.datetime.fromisoformat(text).timestamp() * 1000))


def _print_plain(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
