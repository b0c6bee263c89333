"""Operations on an account's runs. Every one takes the account id, except `get_any` and `owner_of`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    ScalarSelect,
    Select,
    String,
    Text,
    and_,
    bindparam,
    column,
    delete,
    func,
    or_,
    select,
    text,
    tuple_,
    union_all,
    update,
)

from comfyward.errors import NotFound
from comfyward.runs.run import FINAL_STATES, LEASED_STATES, Api, EndReason, Run, State
from comfyward.runs.waiting_run import COUNTED_PLACES
from comfyward.store import files as files_of
from comfyward.store.lists import Listed, fitting, size_of
from comfyward.store.rows import OTHER_TEXTS, RUN_COLUMNS, TEXTS_OF_GRAPH, run_of, text_of
from comfyward.store.schema import HAS_PREVIEWS, IS_QUEUED, accounts, blob_uses, events, files, runs
from comfyward.store.statement import Statement, each_of, list_of

_SIZE = size_of((*TEXTS_OF_GRAPH, *OTHER_TEXTS))
_own = (runs.c.account_id == bindparam("account_id"), runs.c.deleted_at.is_(None))
_GET = Statement(select(*RUN_COLUMNS).where(runs.c.id == bindparam("run_id"), *_own))
_BY_PROMPT = Statement(select(*RUN_COLUMNS).where(runs.c.prompt_id == bindparam("prompt_id"), *_own))
_ANY = Statement(select(*RUN_COLUMNS).where(runs.c.id == bindparam("run_id")))
_NAMED = each_of(bindparam("ids", type_=Text)).table_valued(column("value", Text), name="named")
_THESE = Statement(select(*RUN_COLUMNS).where(runs.c.id.in_(select(_NAMED.c.value))))
_OWNER = Statement(
    select(runs.c.prompt_id, runs.c.account_id, runs.c.workflow_id, runs.c.client_id).where(
        runs.c.id == bindparam("run_id")
    )
)
_STATE = Statement(select(runs.c.state).where(runs.c.id == bindparam("run_id"), *_own))
_COUNT_UNFINISHED = Statement(
    select(func.count())
    .select_from(runs)
    .where(runs.c.account_id == bindparam("account_id"), runs.c.finished_at.is_(None), runs.c.deleted_at.is_(None))
    .where(or_(bindparam("workflow_id", type_=String) == "", runs.c.workflow_id == bindparam("workflow_id")))
)


def _counted(name: str, *where: ColumnElement[bool]) -> ScalarSelect[int]:
    """The number of queued runs of a pool, at most COUNTED_PLACES: a longer queue takes no more time."""
    some = select(runs.c.id).where(IS_QUEUED, runs.c.pool == bindparam("pool"), *where).limit(COUNTED_PLACES)
    return select(func.count()).select_from(some.subquery(name)).scalar_subquery()


# Two ranges of an index, each counted from where it begins.
_COUNT_BEFORE = Statement(
    select(
        _counted("more_urgent", runs.c.priority > bindparam("priority")),
        _counted(
            "earlier",
            runs.c.priority == bindparam("priority"),
            tuple_(runs.c.turn, runs.c.queued_at, runs.c.id)
            < tuple_(bindparam("turn"), bindparam("queued_at"), bindparam("run_id")),
        ),
    )
)


NO_ACCOUNT = ""  # of what a deleted run uses, until it is removed
# What is shared with all accounts counts toward no account's storage: it is NO_ACCOUNT's.
_USE_BLOB = Statement(
    text(
        "INSERT INTO blob_uses (digest, run_id, account_id, size) VALUES (CAST(:digest AS VARCHAR), :run_id,"
        " CASE WHEN EXISTS (SELECT 1 FROM shared_files WHERE shared_files.digest = CAST(:digest AS VARCHAR))"
        " THEN '' ELSE :account_id END, :size)"
    )
)


@dataclass(frozen=True)
class RunFilter:
    """Selects runs for a list. `before` is the (created_at, id) of the last run of the previous page."""

    workflow_id: str | None = None
    states: Sequence[State] = ()
    end_reason: EndReason | None = None
    accelerator: str | None = None
    submitted_via: Api | None = None
    client_id: str | None = None
    api_key_id: str | None = None
    since: int | None = None  # created at or after
    until: int | None = None  # created before
    labels: dict[str, str] = field(default_factory=dict)
    in_history: bool = False  # as ComfyUI's history: without cleared ones, and those cancelled before they began
    before: tuple[int, str] | None = None
    limit: int = 300
    offset: int = 0
    oldest_first: bool = False
    by_run_time: bool = False
    next_first: bool = False  # as they wait for their turn


def get(conn: Connection, account_id: str, run_id: str) -> Run:
    """A run of the account. Raises NotFound, also for another account's run."""
    row = _GET(conn, run_id=run_id, account_id=account_id).first()
    if row is None:
        raise NotFound(f"There is no run '{run_id}'.")
    return run_of(row)


@dataclass(frozen=True)
class ResultFile:
    """The blob of an output or temporary file. `is_of_run`: the path began with the run's id."""

    digest: str
    size: int
    content_type: str
    is_of_run: bool


def file(conn: Connection, account_id: str, kind: str, path: str, workflow_id: str | None = None) -> ResultFile:
    """An output or temporary file: of the run whose id is the first folder, else the newest of that name.

    With `workflow_id` only of its runs. Raises NotFound.
    """
    run_id, _, name = path.partition("/")
    run = _GET(conn, run_id=run_id, account_id=account_id).first() if name else None
    if run is not None and workflow_id not in (None, run.workflow_id):
        run = None
    of_run = run_of(run).file(kind, name) if run is not None else None
    if of_run is not None:
        return ResultFile(of_run.digest, of_run.size, of_run.content_type, True)
    newest = files_of.newest_result(conn, account_id, kind, path, workflow_id)
    return ResultFile(newest.digest, newest.size, newest.content_type, False)


def by_prompt_id(conn: Connection, account_id: str, prompt_id: str) -> Run:
    """A run of the account by its prompt id. Raises NotFound."""
    row = _BY_PROMPT(conn, prompt_id=prompt_id, account_id=account_id).first()
    if row is None:
        raise NotFound(f"There is no run '{prompt_id}'.")
    return run_of(row)


def state_of(conn: Connection, account_id: str, run_id: str) -> State:
    """The state of a run of the account. Raises NotFound."""
    row = _STATE(conn, run_id=run_id, account_id=account_id).first()
    if row is None:
        raise NotFound(f"There is no run '{run_id}'.")
    return State(row[0])


def get_any(conn: Connection, run_id: str) -> Run | None:
    """A run of any account, for the parts of the server that act for none (recorder, share links)."""
    row = _ANY(conn, run_id=run_id).first()
    return run_of(row) if row else None


@dataclass(frozen=True)
class Owner:
    """The names that route a run's events to its clients."""

    prompt_id: str
    account_id: str
    workflow_id: str
    client_id: str | None


def owner_of(conn: Connection, run_id: str) -> Owner | None:
    row = _OWNER(conn, run_id=run_id).first()
    return Owner(row[0], row[1], row[2], row[3]) if row else None


def find(conn: Connection, account_id: str, which: RunFilter) -> list[Run]:
    """The account's runs that match a filter, newest first unless it says otherwise; fewer if they are large."""
    return listed(conn, account_id, which).rows


def listed(conn: Connection, account_id: str, which: RunFilter) -> Listed[Run]:
    """As `find`, with the size of the list."""
    query = matching(account_id, which).with_only_columns(runs.c.id, _SIZE).limit(which.limit)
    size_of_each: dict[str, int] = {row[0]: row[1] for row in conn.execute(query)}
    sizes = fitting([*size_of_each.values()])
    first = list(size_of_each)[: len(sizes.rows)]
    found = {row[0]: run_of(row) for row in _THESE(conn, ids=list_of(first))} if first else {}
    return Listed([found[run_id] for run_id in first if run_id in found], sizes.size, sizes.is_cut)


def matching(account_id: str, which: RunFilter) -> Select[*tuple[Any, ...]]:
    """The account's runs that match a filter, in its order and from its offset, without its limit."""
    is_by_creation = not (which.next_first or which.by_run_time)
    if which.states and is_by_creation:
        conditions = [runs.c.id.in_(_first_of_each_state(account_id, which))]
    else:
        conditions = _conditions(account_id, which)
    return select(*RUN_COLUMNS).where(*conditions).order_by(*_order(which)).offset(which.offset)


def _first_of_each_state(account_id: str, which: RunFilter) -> CompoundSelect[str]:
    """The ids of the first runs in each of a filter's states: an index has those of one state in their order.

    Without it, a list of the few runs that failed would read all that did not.
    """
    each = []
    for state in which.states:
        is_over = runs.c.finished_at.is_not(None) if state.is_final else runs.c.finished_at.is_(None)
        query = select(runs.c.id).where(*_conditions(account_id, replace(which, states=(state,))), is_over)
        first = query.order_by(*_order(which)).limit(which.limit + which.offset).subquery()
        each.append(select(first.c.id))
    return union_all(*each)


def _order(which: RunFilter) -> list[ColumnElement[Any]]:
    if which.next_first:
        return [runs.c.priority.desc(), runs.c.turn, runs.c.queued_at, runs.c.id]
    order = (runs.c.run_time_ms, runs.c.id) if which.by_run_time else (runs.c.created_at, runs.c.id)
    return [column if which.oldest_first else column.desc() for column in order]


def among(conn: Connection, account_id: str, run_ids: Sequence[str], which: RunFilter) -> list[Run]:
    """Those of the given runs that match a filter, newest first."""
    query = select(*RUN_COLUMNS).where(runs.c.id.in_(list(run_ids)), *_conditions(account_id, which))
    return [run_of(row) for row in conn.execute(query.order_by(runs.c.created_at.desc(), runs.c.id.desc()))]


def neighbours(conn: Connection, account_id: str, run: Run) -> tuple[str | None, str | None]:
    """The ids of the previous and next run of the same workflow, by creation."""
    own = (runs.c.account_id == account_id, runs.c.workflow_id == run.workflow_id, runs.c.deleted_at.is_(None))
    place, here = tuple_(runs.c.created_at, runs.c.id), (run.created_at, run.id)
    older = select(runs.c.id).where(*own, place < here).order_by(runs.c.created_at.desc(), runs.c.id.desc()).limit(1)
    newer = select(runs.c.id).where(*own, place > here).order_by(runs.c.created_at, runs.c.id).limit(1)
    return conn.scalar(older), conn.scalar(newer)


def changed_since(conn: Connection, account_id: str, since: int, limit: int) -> list[str]:
    """The ids of the account's runs updated at or after a time (ms since the epoch)."""
    own = (runs.c.account_id == account_id, runs.c.updated_at >= since)
    still_running = select(runs.c.id).where(*own, runs.c.finished_at.is_(None)).limit(limit)
    over = select(runs.c.id).where(*own, runs.c.finished_at >= since).limit(limit)
    return [*conn.scalars(still_running), *conn.scalars(over)][:limit]


def changed_among(conn: Connection, keys: Sequence[str], since: int, limit: int) -> dict[str, int]:
    """Runs updated at or after a time, of these ids or of accounts with these ids: last event's number by run id."""
    numbered = select(runs.c.id, runs.c.event_seq).limit(limit)
    recently = runs.c.updated_at >= since
    asked = (
        numbered.where(runs.c.id.in_(keys), recently),
        numbered.where(runs.c.account_id.in_(keys), runs.c.finished_at.is_(None), recently),
        numbered.where(runs.c.account_id.in_(keys), runs.c.finished_at >= since),
    )
    return {run_id: seq for query in asked for run_id, seq in conn.execute(query)}


def unfinished(conn: Connection, account_id: str) -> list[str]:
    """The ids of the account's runs that are not final."""
    query = select(runs.c.id).where(runs.c.account_id == account_id, runs.c.finished_at.is_(None))
    return list(conn.scalars(query))


def of_closed_accounts(conn: Connection) -> list[tuple[str, str]]:
    """(account id, run id) of the runs of closed accounts that are not final, and not asked to end."""
    late = (accounts.c.deleted_at.is_not(None), runs.c.finished_at.is_(None), runs.c.cancel_requested_at.is_(None))
    query = select(runs.c.account_id, runs.c.id).join(accounts, accounts.c.id == runs.c.account_id)
    return [(row[0], row[1]) for row in conn.execute(query.where(*late))]


def count(conn: Connection, account_id: str, which: RunFilter) -> int:
    """The number of runs that match a filter, ignoring its limit."""
    return int(conn.scalar(select(func.count()).select_from(runs).where(*_conditions(account_id, which))) or 0)


def count_unfinished(conn: Connection, account_id: str, workflow_id: str | None = None) -> int:
    """The number of an account's runs that are not final, of one workflow or of all."""
    return int(_COUNT_UNFINISHED(conn, account_id=account_id, workflow_id=workflow_id or "").scalar() or 0)


def queue_position(conn: Connection, run: Run) -> int:
    """A queued run's place in its pool's queue, from 1; COUNTED_PLACES + 1 also for one that is further back."""
    place = {"priority": run.priority, "turn": run.turn, "queued_at": run.queued_at, "run_id": run.id}
    more_urgent, earlier = _COUNT_BEFORE(conn, pool=run.pool, **place).one()
    return min(int(more_urgent) + int(earlier), COUNTED_PLACES) + 1


def request_cancel(conn: Connection, account_id: str, run_id: str, now: int) -> Run:
    """Stores the request to cancel a run that is not final, and returns the run with it. Raises NotFound.

    It is read by the update that holds its row: nobody assigns, requeues or ends it in between.
    """
    request = (
        update(runs)
        .where(runs.c.id == run_id, runs.c.account_id == account_id, runs.c.deleted_at.is_(None))
        .where(runs.c.finished_at.is_(None), runs.c.cancel_requested_at.is_(None))
        .values(cancel_requested_at=now, updated_at=now)
        .returning(*RUN_COLUMNS)
    )
    row = conn.execute(request).first()
    return get(conn, account_id, run_id) if row is None else run_of(row)


def remove(conn: Connection, account_id: str, run_id: str, now: int) -> None:
    """Hides a final run from its account; maintenance deletes it with its outputs. Raises NotFound."""
    get(conn, account_id, run_id)
    conn.execute(
        update(runs)
        .where(runs.c.id == run_id, runs.c.state.in_(FINAL_STATES))
        .values(deleted_at=now, updated_at=now, idempotency_key=None, request_bytes=None)
    )
    conn.execute(update(blob_uses).where(blob_uses.c.run_id == run_id).values(account_id=NO_ACCOUNT))


def clear_history(
    conn: Connection, account_id: str, which: RunFilter, prompt_ids: Sequence[str] | None, now: int
) -> None:
    """Hides final runs from ComfyUI's history: those that match a filter, and have one of `prompt_ids` if given."""
    chosen = [*_conditions(account_id, which), runs.c.state.in_(FINAL_STATES)]
    if prompt_ids is not None:
        chosen.append(runs.c.prompt_id.in_(prompt_ids))
    conn.execute(update(runs).where(*chosen).values(history_cleared_at=now))


def purge(conn: Connection, *, deleted_before: int, finished_before: int | None, limit: int = 500) -> int:
    """Deletes hidden and outdated runs with everything that belongs to them. Returns how many."""
    doomed = list(conn.scalars(select(runs.c.id).where(runs.c.deleted_at < deleted_before).limit(limit)))
    if finished_before is not None:
        outdated = select(runs.c.id).where(runs.c.finished_at < finished_before).order_by(runs.c.finished_at)
        doomed += conn.scalars(outdated.limit(limit - len(doomed)))
    for table in (events, blob_uses, files):
        conn.execute(delete(table).where(table.c.run_id.in_(doomed)))
    conn.execute(delete(runs).where(runs.c.id.in_(doomed)))
    return len(doomed)


def drop_previews(conn: Connection, finished_before: int, limit: int = 500) -> int:
    """Deletes the temporary files of runs that finished before a time. Returns how many runs had any."""
    old = select(*RUN_COLUMNS).where(HAS_PREVIEWS, runs.c.finished_at < finished_before).limit(limit)
    found = [run_of(row) for row in conn.execute(old)]
    for run in found:
        kept = {output.digest for output in run.outputs} | {source.get("blob") for source in run.files.values()}
        dropped = {preview.digest for preview in run.previews} - kept
        used = and_(blob_uses.c.run_id == run.id, blob_uses.c.digest.in_(dropped))
        conn.execute(delete(blob_uses).where(used))
        conn.execute(update(runs).where(runs.c.id == run.id).values(previews="[]"))
    return len(found)


def forget_results(conn: Connection, run: Run) -> None:
    """Removes the results of an attempt that is tried again."""
    held = [source["blob"] for source in run.files.values() if "blob" in source]
    conn.execute(delete(blob_uses).where(blob_uses.c.run_id == run.id, blob_uses.c.digest.not_in(held)))
    conn.execute(delete(files).where(files.c.run_id == run.id))


def log_of(conn: Connection, account_id: str, run_id: str) -> str:
    """ComfyUI's log of the run's last attempt."""
    get(conn, account_id, run_id)
    return conn.scalar(select(runs.c.log).where(runs.c.id == run_id)) or ""


def add_blob_uses(conn: Connection, account_id: str, run_id: str, sizes: Mapping[str, int]) -> None:
    """Records that a run uses these blobs, given with their sizes, so no sweep removes them.

    It must not have used them before.
    """
    of_run = {"run_id": run_id, "account_id": account_id}
    _USE_BLOB.many(conn, [{**of_run, "digest": digest, "size": size} for digest, size in sorted(sizes.items())])


def _conditions(account_id: str, which: RunFilter) -> list[Any]:
    conditions: list[Any] = [runs.c.account_id == account_id, runs.c.deleted_at.is_(None)]
    for each, wanted in (
        (runs.c.workflow_id, which.workflow_id),
        (runs.c.end_reason, which.end_reason),
        (runs.c.accelerator, which.accelerator),
        (runs.c.submitted_via, which.submitted_via),
        (runs.c.client_id, which.client_id),
        (runs.c.api_key_id, which.api_key_id),
    ):
        if wanted:
            conditions.append(each == wanted)
    if which.states:
        conditions.append(runs.c.state.in_(which.states))
    # One encoder writes all labels, so a pair can be found by its encoded text.
    conditions += [
        runs.c.labels.contains(text_of({key: value})[1:-1], autoescape=True) for key, value in which.labels.items()
    ]
    if which.in_history:
        conditions.append(runs.c.history_cleared_at.is_(None))
        conditions.append(or_(runs.c.state != State.CANCELLED, runs.c.started_at.is_not(None)))
    if which.since is not None:
        conditions.append(runs.c.created_at >= which.since)
    if which.until is not None:
        conditions.append(runs.c.created_at < which.until)
    if which.before:
        conditions.append(tuple_(runs.c.created_at, runs.c.id) < which.before)
    return conditions


def unchanged(run: Run) -> list[Any]:
    """The condition that a run's state and lease are as they were read."""
    if run.state in LEASED_STATES:
        return [runs.c.lease == run.lease, runs.c.state == run.state]
    return [runs.c.state == run.state]
