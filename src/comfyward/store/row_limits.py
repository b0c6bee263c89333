"""Most rows of a kind that an account may have: generous, so that only a fault or an attack meets the limit."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, Table, TextClause, func, literal, select

from comfyward.errors import Conflict

Condition = ColumnElement[bool] | TextClause

KEYS = 1_000
REVOKED_KEYS = 1_000  # the newest are kept
WORKFLOWS = 20_000
WORKFLOW_BYTES = 2_000_000_000  # of their graphs, forms and descriptions
PUBLIC_WORKFLOWS = 200
FILES = 1_000_000
LINKS = 100_000  # URLs by path: the newest are kept
SETTINGS = 2_000
WAITING_IMPORTS = 1_000
IN_TRIALS = 20  # each is a run of its account in every trial, and keeps a revision from becoming current


def check(
    conn: Connection, table: Table, most: int, what: str, hint: str, *of_account: Condition, beside: int = 1
) -> None:
    """Raises Conflict if an account has too many rows: more than it may with the `beside` ones that are to come."""
    first = select(literal(1)).select_from(table).where(*of_account).limit(most + 1).subquery()
    if (conn.scalar(select(func.count()).select_from(first)) or 0) + beside > most:
        raise Conflict(f"You have {most:,} {what}, which is the limit.", hint=hint)
