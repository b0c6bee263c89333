"""Operations on workflows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import (
    Connection,
    Row,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    text,
    tuple_,
    update,
)

from comfyward.errors import Conflict, NotFound
from comfyward.runs.run import Run, State
from comfyward.store import deleted_workflows, row_limits
from comfyward.store.lists import Listed, fitting, size_of
from comfyward.store.rows import RUN_COLUMNS, run_of, text_of
from comfyward.store.schema import accounts, runs, workflow_models, workflows
from comfyward.store.statement import Statement
from comfyward.workflows.model_names import model_names
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
_SIZE = size_of((workflows.c.graph, workflows.c.editor_graph))
_COLUMNS = [_newest_run if name == "current_run_id" else workflows.c[name] for name in Workflow.__dataclass_fields__]
# Cards show no graphs, which may be large, and of many accounts.
_OF_CARDS = [null().label(each.name) if each.name in ("graph", "editor_graph") else each for each in _COLUMNS]
_RESULTS = [literal("").label("prompt") if each.name == "prompt" else each for each in RUN_COLUMNS]
DEFAULT_ALIAS = "default"
TURN = 12  # public workflows of an account in a row of lists of all accounts'
MOST_TURNS = 5_000  # public workflows that such a list has
PUBLIC = "PUBLIC"
_IS_PUBLIC = text("workflows.visibility = 'PUBLIC'")
_own_runs = (runs.c.workflow_id == workflows.c.id, runs.c.deleted_at.is_(None))
_run_count = (
    select(func.count()).select_from(runs).where(*_own_runs).correlate(workflows).scalar_subquery().label("run_count")
)
_newest_result = (
    select(runs.c.id)
    .where(*_own_runs, runs.c.state == State.SUCCEEDED)
    .order_by(runs.c.created_at.desc(), runs.c.id.desc())
    .limit(1)
    .correlate(workflows)
    .scalar_subquery()
    .label("newest_result")
)
_OWN = select(*_COLUMNS).where(workflows.c.account_id == bindparam("account_id"), workflows.c.deleted_at.is_(None))
_BY_ID = _OWN.where(workflows.c.id == bindparam("workflow_id"))
_DEFAULT = _OWN.where(workflows.c.is_default == 1)
_place = select(workflows.c.id, workflows.c.accelerator, workflows.c.environment).where(
    workflows.c.account_id == bindparam("account_id"), workflows.c.deleted_at.is_(None)
)
_PLACE = Statement(_place.where(workflows.c.id == bindparam("workflow_id")))
_DEFAULT_PLACE = Statement(_place.where(workflows.c.is_default == 1))


@dataclass(frozen=True)
class Place:
    """The columns of a workflow that a new run needs."""

    id: str
    accelerator: str | None
    environment: str


def create(conn: Connection, workflow: Workflow) -> None:
    """Raises Conflict if the account has too many, OverQuota if they are too large."""
    _check_count(conn, workflow.account_id)
    if workflow.in_trials:
        _check_trials(conn, workflow.account_id)
    if workflow.visibility == PUBLIC:
        _check_public(conn, workflow.account_id)
    values = {
        **workflow.__dict__,
        "tags": text_of(workflow.tags),
        "is_default": 0,
        "in_trials": int(workflow.in_trials),
        "size": deleted_workflows.size_of(workflow),
    }
    del values["current_run_id"]
    conn.execute(insert(workflows).values(**values))
    deleted_workflows.check_room(conn, workflow.account_id)
    _name_models(conn, workflow)


def get(conn: Connection, account_id: str, workflow_id: str) -> Workflow:
    """A workflow of the account; "default" is its default one. Raises NotFound."""
    query = _DEFAULT if workflow_id == DEFAULT_ALIAS else _BY_ID
    row = conn.execute(query, {"account_id": account_id, "workflow_id": workflow_id}).first()
    if row is None:
        raise _missing(workflow_id)
    return _workflow(row)


def place(conn: Connection, account_id: str, workflow_id: str) -> Place:
    """The workflow that a new run goes to; "default" is the account's default one. Raises NotFound."""
    row = (
        _DEFAULT_PLACE(conn, account_id=account_id)
        if workflow_id == DEFAULT_ALIAS
        else _PLACE(conn, account_id=account_id, workflow_id=workflow_id)
    ).first()
    if row is None:
        raise _missing(workflow_id)
    return Place(*row)


def listed(conn: Connection, account_id: str, before: tuple[int, str] | None, limit: int) -> Listed[Workflow]:
    """The account's workflows, newest first; fewer if they are large."""
    query = select(*_COLUMNS).where(workflows.c.account_id == account_id, workflows.c.deleted_at.is_(None))
    if before:
        query = query.where(tuple_(workflows.c.created_at, workflows.c.id) < before)
    query = query.order_by(workflows.c.created_at.desc(), workflows.c.id.desc())
    sizes = fitting([*conn.scalars(query.with_only_columns(_SIZE).limit(limit))])
    found = [_workflow(row) for row in conn.execute(query.limit(len(sizes.rows)))]
    return Listed(found, sizes.size, sizes.is_cut)


@dataclass(frozen=True)
class Saved:
    """A saved workflow of any account, with its graphs as text."""

    id: str
    name: str
    owner: str
    graph: str | None
    editor_graph: str | None


def following(conn: Connection, environment: str, limit: int, longest: int) -> Iterator[Saved]:
    """The workflows of all accounts that follow the current revision of an environment, the last changed first.

    Those with a graph of more than `longest` characters are left out. The editor's graph comes where there is no other.
    """
    graph, editor_graph = workflows.c.graph, workflows.c.editor_graph
    columns = (workflows.c.id, workflows.c.name, accounts.c.name, graph, case((graph.is_(None), editor_graph)))
    follows = (workflows.c.environment == environment, workflows.c.deleted_at.is_(None))
    is_short = func.length(func.coalesce(graph, editor_graph, "")) <= longest
    query = select(*columns).join(accounts, accounts.c.id == workflows.c.account_id).where(*follows, is_short)
    ordered = query.order_by(workflows.c.updated_at.desc(), workflows.c.id).limit(limit)
    for row in conn.execute(ordered.execution_options(yield_per=20)):
        yield Saved(*row)


@dataclass(frozen=True)
class Card:
    """A workflow in a list, with its number of runs, newest successful run, and owner's name."""

    workflow: Workflow
    run_count: int
    newest: Run | None
    owner: str


@dataclass(frozen=True)
class Search:
    """Selects workflows for a page: words in name, description or tags; a tag. Most recently changed first."""

    words: str = ""
    tag: str | None = None
    limit: int = 60
    offset: int = 0


def cards(conn: Connection, account_id: str, search: Search) -> list[Card]:
    """The account's workflows that match a search."""
    which = [workflows.c.account_id == account_id, workflows.c.deleted_at.is_(None), *_matches(search)]
    newest_first = (workflows.c.updated_at.desc(), workflows.c.id)
    return _cards(conn, which, newest_first, search.limit, search.offset)


def public_cards(conn: Connection, search: Search) -> list[Card]:
    """Public workflows of all accounts that match a search: TURN of each account, then TURN more, and so on.

    So no account that changes many of its own keeps those of others from the first page. The turns are of the newest
    MOST_TURNS, so that a page reads no more than these.
    """
    newest = (
        select(workflows.c.id, workflows.c.account_id, workflows.c.updated_at)
        .join(accounts, accounts.c.id == workflows.c.account_id)
        .where(_IS_PUBLIC, accounts.c.deleted_at.is_(None), workflows.c.deleted_at.is_(None), *_matches(search))
        .order_by(workflows.c.updated_at.desc(), workflows.c.id)
        .limit(MOST_TURNS)
        .subquery()
    )
    newest_first = (newest.c.updated_at.desc(), newest.c.id)
    place = func.row_number().over(partition_by=newest.c.account_id, order_by=newest_first)
    turns = select(newest.c.id).order_by((place - 1) // TURN, *newest_first)
    ids = list(conn.scalars(turns.limit(search.limit).offset(search.offset)))
    by_id = {card.workflow.id: card for card in _cards(conn, [workflows.c.id.in_(ids)])}
    return [by_id[each] for each in ids]


def _cards(
    conn: Connection, which: list[Any], order: tuple[Any, ...] = (), limit: int | None = None, offset: int | None = None
) -> list[Card]:
    query = (
        select(*_OF_CARDS, _run_count, _newest_result, accounts.c.name.label("owner"))
        .join(accounts, accounts.c.id == workflows.c.account_id)
        .where(*which)
        .order_by(*order)
        .limit(limit)
        .offset(offset)
    )
    rows = conn.execute(query).all()
    newest = [row.newest_result for row in rows if row.newest_result]
    results = {run.id: run for run in map(run_of, conn.execute(select(*_RESULTS).where(runs.c.id.in_(newest))))}
    return [Card(_workflow(row), row.run_count, results.get(row.newest_result), row.owner) for row in rows]


def _matches(search: Search) -> list[Any]:
    """The conditions of a search: each word in the name, description or tags, ignoring case."""
    places = (workflows.c.name, func.coalesce(workflows.c.description, ""), workflows.c.tags)
    found: list[Any] = [
        or_(*(func.lower(place).contains(word.lower(), autoescape=True) for place in places))
        for word in search.words.split()
    ]
    if search.tag:
        found.append(workflows.c.tags.contains(text_of(search.tag), autoescape=True))
    return found


def newest_result(conn: Connection, workflow_id: str) -> Run | None:
    """The newest successful run of a workflow."""
    own = (runs.c.workflow_id == workflow_id, runs.c.deleted_at.is_(None), runs.c.state == State.SUCCEEDED)
    query = select(*RUN_COLUMNS).where(*own).order_by(runs.c.created_at.desc(), runs.c.id.desc()).limit(1)
    row = conn.execute(query).first()
    return run_of(row) if row else None


def tags(conn: Connection, account_id: str) -> list[str]:
    """All tags of the account's workflows, sorted."""
    own = (workflows.c.account_id == account_id, workflows.c.deleted_at.is_(None), workflows.c.tags != "[]")
    rows = conn.scalars(select(workflows.c.tags).where(*own))
    return sorted({tag for row in rows for tag in msgspec.json.decode(row)})


def names(conn: Connection, account_id: str) -> dict[str, str]:
    """The names of the account's workflows by id, including deleted ones, whose runs are still listed."""
    query = select(workflows.c.id, workflows.c.name).where(workflows.c.account_id == account_id)
    return {row.id: row.name for row in conn.execute(query)}


def visible(conn: Connection, account_id: str, workflow_id: str) -> Workflow:
    """A workflow that the account may see: its own, or a public one. Raises NotFound."""
    try:
        return get(conn, account_id, workflow_id)
    except NotFound:
        is_public = (_IS_PUBLIC, workflows.c.deleted_at.is_(None), accounts.c.deleted_at.is_(None))
        query = select(*_COLUMNS).join(accounts, accounts.c.id == workflows.c.account_id).where(*is_public)
        row = conn.execute(query.where(workflows.c.id == workflow_id)).first()
        if row is None:
            raise
        return _workflow(row)


def restore(conn: Connection, account_id: str, workflow_id: str, now: int) -> Workflow:
    """Undoes a deletion of the last day. Raises NotFound, and Conflict if the account has too many by now."""
    own = (workflows.c.id == workflow_id, workflows.c.account_id == account_id, deleted_workflows.can_be_restored(now))
    conn.execute(update(workflows).where(*own).values(deleted_at=None, updated_at=now))
    restored = get(conn, account_id, workflow_id)
    _check_count(conn, account_id, beside=0)
    if restored.visibility == PUBLIC:
        _check_public(conn, account_id, beside=0)
    return restored


def change(conn: Connection, account_id: str, workflow_id: str, values: dict[str, Any], now: int) -> Workflow:
    """Updates the given columns and returns the workflow.

    Raises NotFound, OverQuota if all together are too large, Conflict for too many that are public or in trials.
    """
    workflow = get(conn, account_id, workflow_id)
    if values.get("visibility") == PUBLIC and workflow.visibility != PUBLIC:
        _check_public(conn, account_id)
    if values.get("in_trials") and not workflow.in_trials:
        _check_trials(conn, account_id)
    if "tags" in values:
        values = {**values, "tags": text_of(values["tags"])}
    if "in_trials" in values:
        values = {**values, "in_trials": int(values["in_trials"])}
    conn.execute(update(workflows).where(workflows.c.id == workflow.id).values(**values, updated_at=now))
    changed = get(conn, account_id, workflow_id)
    if not values.keys().isdisjoint(deleted_workflows.COUNTED):
        _count(conn, workflow, changed)
    if not values.keys().isdisjoint(("graph", "editor_graph")):
        _name_models(conn, changed)
    return changed


def remove(conn: Connection, account_id: str, workflow_id: str, now: int) -> Workflow:
    """Hides a workflow; its runs stay readable by id. It can be restored for a day.

    Raises NotFound, or Conflict for the default one.
    """
    workflow = get(conn, account_id, workflow_id)
    if workflow.is_default:
        raise Conflict("The default workflow cannot be deleted.")
    conn.execute(update(workflows).where(workflows.c.id == workflow.id).values(deleted_at=now, updated_at=now))
    deleted_workflows.keep_newest(conn, account_id)
    return workflow


def _count(conn: Connection, before: Workflow, changed: Workflow) -> None:
    """Stores the size of a changed workflow. Raises OverQuota for one that grew, if all together are too large."""
    size, size_before = deleted_workflows.size_of(changed), deleted_workflows.size_of(before)
    if size != size_before:
        conn.execute(update(workflows).where(workflows.c.id == changed.id).values(size=size))
    if size > size_before:
        deleted_workflows.check_room(conn, changed.account_id)


def _name_models(conn: Connection, workflow: Workflow) -> None:
    """Records the models that a workflow's graphs name, in place of those recorded before."""
    conn.execute(delete(workflow_models).where(workflow_models.c.workflow_id == workflow.id))
    names = sorted(model_names(workflow.graph) | model_names(workflow.editor_graph))
    of_workflow = {"account_id": workflow.account_id, "workflow_id": workflow.id}
    if names:
        conn.execute(insert(workflow_models), [{"name": name, **of_workflow} for name in names])


def _check_count(conn: Connection, account_id: str, beside: int = 1) -> None:
    """Raises Conflict if an account has more workflows than it may, `beside` of which are about to come."""
    own = (workflows.c.account_id == account_id, workflows.c.deleted_at.is_(None))
    row_limits.check(conn, workflows, row_limits.WORKFLOWS, "workflows", "Delete some.", *own, beside=beside)


def _check_public(conn: Connection, account_id: str, beside: int = 1) -> None:
    """The same for those that are public."""
    own = (workflows.c.account_id == account_id, _IS_PUBLIC, workflows.c.deleted_at.is_(None))
    hint = "Make one private."
    row_limits.check(conn, workflows, row_limits.PUBLIC_WORKFLOWS, "public workflows", hint, *own, beside=beside)


def _check_trials(conn: Connection, account_id: str) -> None:
    """Raises Conflict if an account has as many workflows in trials as it may."""
    own = (workflows.c.account_id == account_id, workflows.c.in_trials == 1, workflows.c.deleted_at.is_(None))
    row_limits.check(conn, workflows, row_limits.IN_TRIALS, "workflows in trials", "Take one out of them.", *own)


def _missing(workflow_id: str) -> NotFound:
    hint = "List yours with GET /api/v1/workflows, or use the id 'default'."
    return NotFound(f"There is no workflow '{workflow_id}'.", hint=hint)


def _workflow(row: Row[*tuple[Any, ...]]) -> Workflow:
    values = {name: row._mapping[name] for name in Workflow.__dataclass_fields__}
    values["tags"] = msgspec.json.decode(values["tags"])
    values |= {name: bool(values[name]) for name in ("is_default", "in_trials")}
    return Workflow(**values)
