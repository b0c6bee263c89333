"""Operations on workflows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, bindparam, insert, select, tuple_, update

from comfyward.errors import Conflict, NotFound
from comfyward.store.schema import runs, workflows
from comfyward.store.statement import Statement
from comfyward.workflows.workflow import Workflow

_newest_run = (
    select(runs.c.id)
    .where(runs.c.workflow_id == workflows.c.id, runs.c.deleted_at.is_(None))
    .order_by(runs.c.created_at.desc(), runs.c.id.desc())
    .limit(1)
    .correlate(workflows)
    .scalar_subquery()
    .label("current_run_id")
)
_COLUMNS = [_newest_run if name == "current_run_id" else workflows.c[name] for name in Workflow.__dataclass_fields__]
DEFAULT_ALIAS = "default"
_OWN = select(*_COLUMNS).where(workflows.c.account_id == bindparam("account_id"), workflows.c.deleted_at.is_(None))
_BY_ID = _OWN.where(workflows.c.id == bindparam("workflow_id"))
_DEFAULT = _OWN.where(workflows.c.is_default == 1)
_place = select(workflows.c.id, workflows.c.accelerator).where(
    workflows.c.account_id == bindparam("account_id"), workflows.c.deleted_at.is_(None)
)
_PLACE = Statement(_place.where(workflows.c.id == bindparam("workflow_id")))
_DEFAULT_PLACE = Statement(_place.where(workflows.c.is_default == 1))


@dataclass(frozen=True)
class Place:
    """What a run needs to know of the workflow that it lands in."""

    id: str
    accelerator: str | None


def create(conn: Connection, workflow: Workflow) -> None:
    values = {**workflow.__dict__, "tags": msgspec.json.encode(workflow.tags).decode(), "is_default": 0}
    del values["current_run_id"]
    conn.execute(insert(workflows).values(**values))


def get(conn: Connection, account_id: str, workflow_id: str) -> Workflow:
    """A workflow of the account; the id "default" means its default one. Raises NotFound."""
    query = _DEFAULT if workflow_id == DEFAULT_ALIAS else _BY_ID
    row = conn.execute(query, {"account_id": account_id, "workflow_id": workflow_id}).first()
    if row is None:
        raise _missing(workflow_id)
    return _workflow(row)


def place(conn: Connection, account_id: str, workflow_id: str) -> Place:
    """Where a run of the account lands. Raises NotFound."""
    row = (
        _DEFAULT_PLACE(conn, account_id=account_id)
        if workflow_id == DEFAULT_ALIAS
        else _PLACE(conn, account_id=account_id, workflow_id=workflow_id)
    ).first()
    if row is None:
        raise _missing(workflow_id)
    return Place(row[0], row[1])


def find(conn: Connection, account_id: str, before: tuple[int, str] | None, limit: int) -> list[Workflow]:
    """The account's workflows, newest first."""
    query = select(*_COLUMNS).where(workflows.c.account_id == account_id, workflows.c.deleted_at.is_(None))
    if before:
        query = query.where(tuple_(workflows.c.created_at, workflows.c.id) < before)
    query = query.order_by(workflows.c.created_at.desc(), workflows.c.id.desc()).limit(limit)
    return [_workflow(row) for row in conn.execute(query)]


def change(conn: Connection, account_id: str, workflow_id: str, values: dict[str, Any], now: int) -> Workflow:
    """Changes the given columns and returns the workflow. Raises NotFound."""
    workflow = get(conn, account_id, workflow_id)
    if "tags" in values:
        values = {**values, "tags": msgspec.json.encode(values["tags"]).decode()}
    conn.execute(update(workflows).where(workflows.c.id == workflow.id).values(**values, updated_at=now))
    return get(conn, account_id, workflow_id)


def remove(conn: Connection, account_id: str, workflow_id: str, now: int) -> Workflow:
    """Hides a workflow; its runs stay readable by their ids. Raises NotFound, and Conflict for the default one."""
    workflow = get(conn, account_id, workflow_id)
    if workflow.is_default:
        raise Conflict("The default workflow cannot be deleted.")
    conn.execute(update(workflows).where(workflows.c.id == workflow.id).values(deleted_at=now, updated_at=now))
    return workflow


def _missing(workflow_id: str) -> NotFound:
    hint = "List yours with GET /api/v1/workflows, or use the id 'default'."
    return NotFound(f"There is no workflow '{workflow_id}'.", hint=hint)


def _workflow(row: Row[*tuple[Any, ...]]) -> Workflow:
    values = dict(row._mapping)
    values["tags"] = msgspec.json.decode(values["tags"])
    values["is_default"] = bool(values["is_default"])
    return Workflow(**values)
