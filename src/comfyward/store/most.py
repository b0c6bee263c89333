"""Most rows of a kind that an account may have: generous, so that only a fault or an attack meets the limit."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, Table, func, select

from comfyward.errors import Conflict

KEYS = 1_000
WORKFLOWS = 20_000
WAITING_IMPORTS = 1_000
IN_TRIALS = 20  # each is a run of its account in every trial, and keeps a revision from becoming current


def check(conn: Connection, table: Table, most: int, what: str, hint: str, *of_account: ColumnElement[bool]) -> None:
    """Raises Conflict if an account has as many rows as it may."""
    first = select(table.c.id).where(*of_account).limit(most).subquery()
    if (conn.scalar(select(func.count()).select_from(first)) or 0) >= most:
        raise Conflict(f"You have {most:,} {what}, which is the limit.", hint=hint)
