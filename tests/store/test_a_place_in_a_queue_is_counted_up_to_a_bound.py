"""The place of a queued run is counted from the head of its pool's queue, and not beyond a bound."""

from typing import Any

from sqlalchemy import Connection, insert, select

from comfyward.runs.run import Run
from comfyward.runs.waiting_run import COUNTED_PLACES
from comfyward.store import runs
from comfyward.store.schema import runs as table
from tests.store.conftest import Store


def place_of(store: Store, run_id: str) -> int:
    run: Run = store.read(runs.get_any, run_id)
    return int(store.read(runs.queue_position, run))


def test_priority_comes_before_turns_and_other_pools_do_not_count(store: Store) -> None:
    for number in range(3):
        store.new_run(f"run-{number}")
    store.new_run("other", pool="A100")
    store.new_run("bobs", store.bob)
    store.new_run("urgent", priority=5)
    store.new_run("patient", priority=-5)
    store.assign("run-0")

    order = ["urgent", "bobs", "run-1", "run-2", "patient"]
    assert [place_of(store, run_id) for run_id in order] == [1, 2, 3, 4, 5]
    assert place_of(store, "other") == 1


def test_a_run_far_back_is_behind_all_that_are_counted(store: Store) -> None:
    store.new_run("first")
    store.write(copy, "first", COUNTED_PLACES)

    assert place_of(store, "copy-0") == 2
    assert place_of(store, f"copy-{COUNTED_PLACES - 2}") == COUNTED_PLACES
    assert place_of(store, f"copy-{COUNTED_PLACES - 1}") == COUNTED_PLACES + 1
    store.new_run("last", priority=-1)
    assert place_of(store, "last") == COUNTED_PLACES + 1


def copy(conn: Connection, run_id: str, count: int) -> None:
    """Queues runs like one, after it."""
    found = conn.execute(select(table).where(table.c.id == run_id)).one()
    row: dict[str, Any] = dict(zip(table.c.keys(), found, strict=True))
    copies = [{"id": f"copy-{n}", "prompt_id": f"copy-{n}", "turn": row["turn"] + 1 + n} for n in range(count)]
    conn.execute(insert(table), [{**row, **each} for each in copies])
