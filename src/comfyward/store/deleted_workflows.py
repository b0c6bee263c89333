"""Operations on what an account's workflows take in the database, and on those that were deleted.

A deletion can be undone for a day, as long as its room is not needed: deleted workflows count as the others do, and are
given up first. One that is given up stays as a name for as long as it has runs.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import ColumnElement, Connection, delete, func, select, update

from comfyward.errors import OverQuota
from comfyward.store import row_limits
from comfyward.store.schema import runs, workflow_models, workflows
from comfyward.wording import size as in_words
from comfyward.workflows.workflow import Workflow

KEPT_MS = 24 * 3600 * 1000
MOST_KEPT = 1000  # deletions of an account
GIVEN_UP = 0  # `deleted_at` of one that cannot be restored
COUNTED = ("graph", "editor_graph", "form", "description")
_IS_KEPT = workflows.c.deleted_at > GIVEN_UP


def size_of(workflow: Workflow) -> int:
    """The bytes of a workflow that have no small bound of their own: those of its graphs, form and description."""
    return sum(len(text.encode()) for name in COUNTED if (text := getattr(workflow, name)))


def check_room(conn: Connection, account_id: str) -> None:
    """Raises OverQuota if an account's workflows are larger than they may be, deleted ones included.

    Deleted ones are given up before that.
    """
    if _stored(conn, account_id) > row_limits.WORKFLOW_BYTES:
        _give_up(conn, conn.scalars(select(workflows.c.id).where(workflows.c.account_id == account_id, _IS_KEPT)))
    if (stored := _stored(conn, account_id)) > row_limits.WORKFLOW_BYTES:
        limit = in_words(row_limits.WORKFLOW_BYTES)
        message = f"Your workflows would use {in_words(stored)}, more than the limit of {limit}."
        hint = "Delete some: their graphs, forms and descriptions count."
        raise OverQuota(message, hint=hint, limit="workflows", used=stored, most=row_limits.WORKFLOW_BYTES)


def can_be_restored(now: int) -> ColumnElement[bool]:
    """The condition of a workflow that is there, or was deleted less than a day ago."""
    return func.coalesce(workflows.c.deleted_at, now) > now - KEPT_MS


def keep_newest(conn: Connection, account_id: str) -> None:
    """Gives up an account's oldest deletions if there are more than MOST_KEPT."""
    kept = select(workflows.c.id).where(workflows.c.account_id == account_id, _IS_KEPT)
    _give_up(conn, conn.scalars(kept.order_by(workflows.c.deleted_at.desc(), workflows.c.id).offset(MOST_KEPT)))


def prune(conn: Connection, deleted_before: int, limit: int = 500) -> int:
    """Gives up workflows deleted before a time, and forgets those without runs. Returns how many."""
    old = select(workflows.c.id).where(_IS_KEPT, workflows.c.deleted_at < deleted_before).limit(limit)
    nameless = select(workflows.c.id).where(workflows.c.deleted_at == GIVEN_UP, ~_has_runs()).limit(limit)
    return _give_up(conn, [*conn.scalars(old), *conn.scalars(nameless)])


def _stored(conn: Connection, account_id: str) -> int:
    return int(conn.scalar(select(func.sum(workflows.c.size)).where(workflows.c.account_id == account_id)) or 0)


def _has_runs() -> ColumnElement[bool]:
    return select(runs.c.id).where(runs.c.workflow_id == workflows.c.id).exists()


def _give_up(conn: Connection, workflow_ids: Iterable[str]) -> int:
    """Deletes workflows without runs, and all but the names of the others."""
    given_up = list(workflow_ids)
    for start in range(0, len(given_up), 500):
        some = given_up[start : start + 500]
        conn.execute(delete(workflow_models).where(workflow_models.c.workflow_id.in_(some)))
        conn.execute(delete(workflows).where(workflows.c.id.in_(some), ~_has_runs()))
        nothing = {**dict.fromkeys(COUNTED), "size": 0, "deleted_at": GIVEN_UP}
        conn.execute(update(workflows).where(workflows.c.id.in_(some)).values(**nothing))
    return len(given_up)
