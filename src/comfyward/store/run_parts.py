"""Parts of an account's runs: those that a list or a search needs, where whole runs would be large."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, literal, null, select

from comfyward.runs.run import Run, State
from comfyward.store.lists import size_of
from comfyward.store.rows import OTHER_TEXTS, RUN_COLUMNS, TEXTS_OF_GRAPH, run_of
from comfyward.store.runs import RunFilter, matching
from comfyward.store.schema import runs

_PLACE = (
    runs.c.id,
    runs.c.state,
    runs.c.pool,
    runs.c.environment,
    runs.c.priority,
    runs.c.turn,
    runs.c.queued_at,
    runs.c.created_at,
)
_SIZES = (size_of(TEXTS_OF_GRAPH), size_of(OTHER_TEXTS))
_FILES = msgspec.json.Decoder(dict[str, dict[str, Any]])
_NO_GRAPH = {"prompt": literal("").label("prompt"), "extra_data": null().label("extra_data")}
_WITHOUT_GRAPHS = [_NO_GRAPH.get(column.name, column) for column in RUN_COLUMNS]


@dataclass(frozen=True)
class Outline:
    """The place of a run in lists, and the length of its texts in bytes: of its graph, and of all others."""

    id: str
    state: State
    pool: str
    environment: str
    priority: int
    turn: int
    queued_at: int
    created_at: int
    graph_size: int
    others_size: int

    @property
    def size(self) -> int:
        return self.graph_size + self.others_size


def outlines(conn: Connection, account_id: str, which: RunFilter) -> list[Outline]:
    """Those of the account's runs that match a filter, in its order. However large the runs are, none is missing."""
    query = matching(account_id, which).with_only_columns(*_PLACE, *_SIZES).limit(which.limit)
    found = [dict(zip(Outline.__dataclass_fields__, row, strict=True)) for row in conn.execute(query)]
    return [Outline(**{**values, "state": State(values["state"])}) for values in found]


def those(conn: Connection, account_id: str, run_ids: Sequence[str], *, with_graphs: bool = True) -> list[Run]:
    """The account's runs with these ids, in their order, as far as they are still there.

    Without graphs, `prompt` is empty and `extra_data` is None.
    """
    columns = RUN_COLUMNS if with_graphs else _WITHOUT_GRAPHS
    own = (runs.c.account_id == account_id, runs.c.deleted_at.is_(None))
    rows = conn.execute(select(*columns).where(runs.c.id.in_(run_ids), *own))
    found = {run.id: run for run in map(run_of, rows)}
    return [found[run_id] for run_id in run_ids if run_id in found]


def prompt_ids(conn: Connection, account_id: str, which: RunFilter) -> dict[str, str]:
    """The prompt ids of the account's runs that match a filter, by run id."""
    query = matching(account_id, which).with_only_columns(runs.c.id, runs.c.prompt_id)
    return {row[0]: row[1] for row in conn.execute(query.limit(which.limit))}


def newest_source(conn: Connection, account_id: str, which: RunFilter, path: str) -> dict[str, Any] | None:
    """The source of a file in the first of the account's runs, of those that match a filter, that brought it."""
    query = matching(account_id, which).with_only_columns(runs.c.files).limit(which.limit)
    for (text,) in conn.execute(query):
        if (source := _FILES.decode(text).get(path)) is not None:
            return source
    return None
