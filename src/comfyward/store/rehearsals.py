"""Operations on rehearsals: the last good run of a marked workflow, repeated in a revision that is tried."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from comfyward.errors import NotFound
from comfyward.runs.run import State
from comfyward.store.environments import get
from comfyward.store.schema import (
    accounts,
    environment_rehearsals,
    environment_revisions,
    environments,
    runs,
    workflows,
)

RUNNING, SAME, DIFFERENT, BROKEN, SKIPPED = "running", "same", "different", "failed", "skipped"
WAITING = "waiting"  # has not begun: there is no row
GOOD, UNFINISHED = (SAME, SKIPPED), (WAITING, RUNNING)
TAG = "trial of "  # begins the tag of runs that are rehearsals


@dataclass(frozen=True)
class Marked:
    """A workflow of an environment that is part of its trials."""

    workflow_id: str
    name: str
    account_id: str
    owner: str


@dataclass(frozen=True)
class Rehearsal:
    """The rehearsal of a workflow in a revision. `difference` is that of pictures, 0 to 1; None without any."""

    environment_id: str
    number: int
    workflow_id: str
    account_id: str
    former_run_id: str
    run_id: str
    state: str
    message: str
    difference: float | None
    created_at: int
    finished_at: int | None


@dataclass(frozen=True)
class Due:
    """A rehearsal that has not begun, of a revision that is to be tried; `asked_at` is when that was asked for."""

    environment_id: str
    name: str
    number: int
    asked_at: int
    marked: Marked


_table = environment_rehearsals.c
_COLUMNS = [_table[name] for name in Rehearsal.__dataclass_fields__]


def marked(conn: Connection, name: str) -> list[Marked]:
    """The workflows that follow an environment and are part of its trials, by name: not those of closed accounts."""
    columns = (workflows.c.id, workflows.c.name, workflows.c.account_id, accounts.c.name)
    is_marked = (workflows.c.environment == name, workflows.c.in_trials == 1, workflows.c.deleted_at.is_(None))
    query = select(*columns).join(accounts, accounts.c.id == workflows.c.account_id)
    query = query.where(*is_marked, accounts.c.deleted_at.is_(None))
    return [Marked(*row) for row in conn.execute(query.order_by(workflows.c.name, workflows.c.id))]


def unmark(conn: Connection, name: str, workflow_id: str) -> None:
    """Takes a workflow, of any account, out of the trials of its environment, which it holds up no more.

    Raises NotFound if it is not part of them.
    """
    mine = (workflows.c.id == workflow_id, workflows.c.environment == name, workflows.c.in_trials == 1)
    if conn.execute(update(workflows).where(*mine).values(in_trials=0)).rowcount == 0:
        get(conn, name)
        raise NotFound(f"No workflow '{workflow_id}' is part of the trials of '{name}'.")
    of_workflow = (_table.environment_id == get(conn, name).id, _table.workflow_id == workflow_id)
    conn.execute(delete(environment_rehearsals).where(*of_workflow))


def due(conn: Connection) -> list[Due]:
    """The rehearsals that have not begun, of all revisions that are to be tried."""
    return list(_due(conn))


def begin(conn: Connection, new: Rehearsal) -> None:
    """Adds a rehearsal, unless it is there already."""
    if _one(conn, new.environment_id, new.number, new.workflow_id) is None:
        conn.execute(insert(environment_rehearsals).values(**new.__dict__))


def running(conn: Connection) -> list[Rehearsal]:
    """Those whose run was not seen to end."""
    return [Rehearsal(*row) for row in conn.execute(select(*_COLUMNS).where(_table.state == RUNNING))]


def finish(conn: Connection, of: Rehearsal, state: str, message: str, difference: float | None, now: int) -> None:
    """Stores how a rehearsal ended, unless it was begun anew meanwhile."""
    key = (_table.environment_id == of.environment_id, _table.number == of.number)
    same = (*key, _table.workflow_id == of.workflow_id, _table.run_id == of.run_id, _table.state == RUNNING)
    values = {"state": state, "message": message, "difference": difference, "finished_at": now}
    conn.execute(update(environment_rehearsals).where(*same).values(**values))


def forget(conn: Connection, name: str, number: int) -> None:
    """Forgets the rehearsals of a revision: it is tried again. Raises NotFound."""
    of_revision = (_table.environment_id == get(conn, name).id, _table.number == number)
    conn.execute(delete(environment_rehearsals).where(*of_revision))


def of(conn: Connection, name: str) -> dict[int, list[tuple[Rehearsal, str, str]]]:
    """(rehearsal, name of the workflow, owner) of the revisions of an environment, by number. Raises NotFound."""
    query = (
        select(*_COLUMNS, workflows.c.name, accounts.c.name)
        .join(workflows, workflows.c.id == _table.workflow_id)
        .join(accounts, accounts.c.id == _table.account_id)
        .where(_table.environment_id == get(conn, name).id)
        .order_by(_table.number, workflows.c.name, _table.workflow_id)
    )
    found: dict[int, list[tuple[Rehearsal, str, str]]] = {}
    for row in conn.execute(query):
        rehearsal = Rehearsal(*row[: len(_COLUMNS)])
        found.setdefault(rehearsal.number, []).append((rehearsal, row[-2], row[-1]))
    return found


def last_good(conn: Connection, workflow_id: str) -> str | None:
    """The newest run of a workflow that succeeded and was not itself a rehearsal."""
    good = (runs.c.workflow_id == workflow_id, runs.c.state == State.SUCCEEDED, runs.c.deleted_at.is_(None))
    is_own = runs.c.tags.not_like(f'%"{TAG}%')
    query = select(runs.c.id).where(*good, is_own).order_by(runs.c.created_at.desc(), runs.c.id.desc()).limit(1)
    return conn.scalar(query)


def _due(conn: Connection) -> Iterator[Due]:
    asked = environment_revisions.c
    query = (
        select(environments.c.id, environments.c.name, asked.number, asked.asked_at)
        .join(environments, environments.c.id == asked.environment_id)
        .where(asked.asked_at.is_not(None))
    )
    for row in conn.execute(query).all():
        begun = set(
            conn.scalars(select(_table.workflow_id).where(_table.environment_id == row.id, _table.number == row.number))
        )
        for each in marked(conn, row.name):
            if each.workflow_id not in begun:
                yield Due(row.id, row.name, row.number, row.asked_at, each)


def _one(conn: Connection, environment_id: str, number: int, workflow_id: str) -> Any:
    key = (_table.environment_id == environment_id, _table.number == number, _table.workflow_id == workflow_id)
    return conn.execute(select(_table.state).where(*key)).first()
