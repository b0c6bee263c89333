"""A list of runs in some states has them in its order, page by page, and reads none of the others."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from sqlalchemy import Connection, event, update

from comfyward.runs.run import FINAL_STATES, Run, State
from comfyward.store import runs
from comfyward.store.runs import RunFilter
from comfyward.store.schema import runs as table
from tests.store.conftest import Store

STATES = (State.FAILED, State.SUCCEEDED, State.QUEUED, State.CANCELLED, State.RUNNING, State.SUCCEEDED)
CHOSEN = [(State.FAILED,), (State.FAILED, State.CANCELLED), (State.QUEUED, State.RUNNING), tuple(State), ()]
OF_ALICE = 24


@pytest.fixture
def ids(store: Store) -> list[str]:
    """Runs of alice, oldest first, two of each moment; and one of bob in each state."""
    for number in range(OF_ALICE):
        store.new_run(f"run-{number:02}", created_at=1_000 + number // 2)
    for number, state in enumerate(STATES):
        store.new_run(f"bob-{number}", store.bob, created_at=1_000)
        store.write(become, f"bob-{number}", state)
    for number in range(OF_ALICE):
        store.write(become, f"run-{number:02}", STATES[number % len(STATES)])
    return [f"run-{number:02}" for number in range(OF_ALICE)]


@pytest.mark.parametrize("states", CHOSEN)
@pytest.mark.parametrize("oldest_first", [False, True])
def test_in_order_and_page_by_page(store: Store, ids: list[str], states: tuple[State, ...], oldest_first: bool) -> None:
    wanted = [each for number, each in enumerate(ids) if STATES[number % len(STATES)] in (states or State)]
    wanted = wanted if oldest_first else wanted[::-1]

    def page(**how: Any) -> list[str]:
        found: list[Run] = store.read(
            runs.find, store.alice.id, RunFilter(states=states, oldest_first=oldest_first, **how)
        )
        return [run.id for run in found]

    assert page() == wanted
    assert [*itertools.chain(*(page(limit=3, offset=first) for first in range(0, OF_ALICE, 3)))] == wanted
    last = store.read(runs.get, store.alice.id, "run-12")
    older = [each for each in ids[:12] if each in wanted]
    assert page(before=(last.created_at, last.id)) == (older if oldest_first else older[::-1])


def test_it_takes_them_from_an_index_in_their_order(store: Store, ids: list[str]) -> None:
    [plan] = store.read(plans_of_failed, store.alice.id)

    assert "ix_runs_over" in plan
    assert "ix_runs_account_id_created_at" not in plan


def become(conn: Connection, run_id: str, state: State) -> None:
    values: dict[str, Any] = {"state": state}
    if state in FINAL_STATES:
        values |= {"finished_at": 5_000, "end_reason": "completed"}
    elif state is not State.QUEUED:
        values |= {"lease": f"lease-{run_id}", "lease_expires_at": 9_000}
    conn.execute(update(table).where(table.c.id == run_id).values(**values))


def plans_of_failed(conn: Connection, account_id: str) -> list[str]:
    """How the database would find the failed runs of a list, whose rows it then reads by their ids."""
    asked: list[tuple[str, Any]] = []

    def keep(_conn: Any, _cursor: Any, statement: str, parameters: Any, *_more: Any) -> None:
        if statement.startswith("SELECT"):
            asked.append((statement, parameters))

    is_sqlite = conn.dialect.name == "sqlite"
    if not is_sqlite:
        conn.exec_driver_sql("SET LOCAL enable_seqscan = off")  # as where there are many rows
    event.listen(conn.engine, "before_cursor_execute", keep)
    runs.find(conn, account_id, RunFilter(states=(State.FAILED,), limit=50))
    event.remove(conn.engine, "before_cursor_execute", keep)
    explain = "EXPLAIN QUERY PLAN" if is_sqlite else "EXPLAIN"
    return [
        "\n".join(" ".join(map(str, row)) for row in conn.exec_driver_sql(f"{explain} {each}", of))
        for each, of in asked
    ]
