"""A list of runs or workflows with graphs of megabytes ends early, and the rest comes with the pages after it."""

from __future__ import annotations

import pytest

from comfyward.api.paging import moment_of, next_cursor
from comfyward.store import lists, run_parts, runs, workflows
from comfyward.store.db import now_ms
from comfyward.store.runs import RunFilter
from tests.store.conftest import Store

GRAPH = '{"1":"' + "a" * (4 << 20) + '"}'
FITTING = lists.LIST_BYTES // len(GRAPH)
MANY = FITTING + 2


@pytest.fixture
def large_runs(store: Store) -> list[str]:
    """Their ids, newest first."""
    return [store.new_run(f"r{number}", prompt=GRAPH, created_at=1000 - number) for number in range(MANY)]


def test_a_list_of_large_runs_goes_on_where_it_ended(store: Store, large_runs: list[str]) -> None:
    first = store.read(runs.listed, store.alice.id, RunFilter(limit=1000))
    cursor = next_cursor(first.rows, 999, is_cut=first.is_cut)
    assert cursor is not None
    rest = store.read(runs.listed, store.alice.id, RunFilter(limit=1000, before=moment_of(cursor)))

    assert [run.id for run in first.rows] == large_runs[:FITTING]
    assert len(GRAPH) * FITTING <= first.size <= lists.LIST_BYTES
    assert [run.id for run in rest.rows] == large_runs[FITTING:]
    assert next_cursor(rest.rows, 999, is_cut=rest.is_cut) is None


def test_all_large_runs_are_cancelled_at_once(store: Store, large_runs: list[str]) -> None:
    assert list(store.read(run_parts.prompt_ids, store.alice.id, RunFilter(limit=1000))) == large_runs


def test_one_that_is_larger_than_a_list_is_shown(store: Store) -> None:
    size = lists.LIST_BYTES + 1
    store.new_run("large", prompt="a" * size)

    [run] = store.read(runs.find, store.alice.id, RunFilter())

    assert len(run.prompt) == size


def test_what_a_list_holds_is_counted_in_bytes(store: Store) -> None:
    graph = '{"1":"' + "é" * (3 << 20) + '"}'
    size = len(graph.encode())
    for number in range(6):
        store.new_run(f"r{number}", prompt=graph)

    found = store.read(runs.listed, store.alice.id, RunFilter())

    assert (len(found.rows), found.is_cut) == (lists.LIST_BYTES // size, True)
    assert size * len(found.rows) <= found.size <= lists.LIST_BYTES


def test_small_runs_are_listed_as_many_as_asked_for(store: Store) -> None:
    for number in range(3):
        store.new_run(f"r{number}", created_at=1000 - number)

    found = store.read(runs.listed, store.alice.id, RunFilter(limit=2))

    assert [run.id for run in found.rows] == ["r0", "r1"]
    assert not found.is_cut


def test_a_list_of_large_workflows_goes_on_where_it_ended(store: Store) -> None:
    for number in range(MANY):
        store.write(workflows.create, _large_workflow(store, number))

    first = store.read(workflows.listed, store.alice.id, None, 1000)
    last = first.rows[-1]
    rest = store.read(workflows.listed, store.alice.id, (last.created_at, last.id), 1000)

    assert (len(first.rows), first.is_cut, rest.is_cut) == (FITTING, True, False)
    assert len({each.id for each in (*first.rows, *rest.rows)}) == MANY + 1, "and the default one"


def test_cards_hold_no_graphs(store: Store) -> None:
    store.write(workflows.create, _large_workflow(store, 0))

    card, _ = store.read(workflows.cards, store.alice.id, workflows.Search())

    assert (card.workflow.name, card.workflow.graph, card.workflow.editor_graph) == ("w0", None, None)


def _large_workflow(store: Store, number: int) -> workflows.Workflow:
    now = now_ms()
    return workflows.Workflow(
        id=f"w{number}",
        account_id=store.alice.id,
        name=f"w{number}",
        graph=GRAPH,
        editor_graph=None,
        created_at=now + number,
        updated_at=now + number,
    )
