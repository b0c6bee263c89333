"""Tries to log in, counted before the password is checked, so that tries at the same time share one limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, text, update

from comfyward.ids import hash_secret
from comfyward.store.schema import login_tries
from comfyward.store.statement import Statement

WINDOW_MS = 15 * 60 * 1000


@dataclass(frozen=True)
class Budget:
    """At most `tries` in WINDOW_MS by those whom `of` describes."""

    of: str
    tries: int

    @property
    def key(self) -> str:
        return hash_secret(self.of)


_COUNT = Statement(
    text(
        "INSERT INTO login_tries (budget, since, count) VALUES (:budget, :now, 1) ON CONFLICT (budget) DO UPDATE SET"
        " count = CASE WHEN login_tries.since <= :before THEN 1 ELSE login_tries.count + 1 END,"
        " since = CASE WHEN login_tries.since <= :before THEN :now ELSE login_tries.since END"
        " RETURNING count"
    )
)
_RETURN = Statement(
    update(login_tries)
    .where(login_tries.c.budget == bindparam("key"), login_tries.c.count > 0)
    .values(count=login_tries.c.count - 1)
)


def reserve(conn: Connection, budgets: Sequence[Budget], now: int) -> bool:
    """Counts a try in each budget, up to the first that is used up. Returns False if one is: nothing may be checked."""
    conn.execute(delete(login_tries).where(login_tries.c.since <= now - WINDOW_MS))
    return all(
        _COUNT(conn, budget=budget.key, now=now, before=now - WINDOW_MS).scalar() <= budget.tries for budget in budgets
    )


def forgive(conn: Connection, budgets: Sequence[Budget]) -> None:
    """Takes a successful try out of the budgets."""
    _RETURN.many(conn, [{"key": budget.key} for budget in budgets])
