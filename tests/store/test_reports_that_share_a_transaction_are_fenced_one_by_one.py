"""Reports and submissions of one moment share a transaction and its statements, and each has its own outcome."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from sqlalchemy import Connection

from comfyward.dispatch import recorder
from comfyward.errors import QueueFull, StaleLease
from comfyward.runs.run import EndReason, State
from comfyward.store import events, new_runs, runs
from comfyward.store.postgres import WRITERS
from comfyward.worker.protocol import Ended, Started
from tests.store.conftest import Store

LEASES = [f"lease-{number}" for number in range(8)]


def test_one_stale_report_among_many_is_refused_alone(store: Store) -> None:
    for lease in LEASES[:-1]:
        store.new_run(f"run {lease}")
        store.assign(f"run {lease}", lease)

    outcomes = asyncio.run(_together(store, [recording(store, lease) for lease in LEASES]))

    assert [type(outcome) for outcome in outcomes[:-1]] == [tuple] * (len(LEASES) - 1)
    assert isinstance(outcomes[-1], StaleLease)
    assert {store.read(runs.get_any, f"run {lease}").state for lease in LEASES[:-1]} == {State.SUCCEEDED}
    for lease in LEASES[:-1]:
        stored = store.read(events.after, store.alice.id, f"run {lease}", 0)
        assert [event.seq for event in stored] == [3, 4]


def test_runs_that_are_queued_together_have_turns_of_their_own(store: Store) -> None:
    rows = [store.row(f"r{number}", store.alice) for number in range(8)]

    asyncio.run(_together(store, [store.db.write(new_runs.add, row) for row in rows]))

    turns = sorted(store.read(runs.get_any, row.id).turn for row in rows)
    assert turns == [number * new_runs.TURN for number in range(8)]


def test_no_more_runs_are_queued_together_than_an_account_may_have(store: Store) -> None:
    rows = [store.row(f"r{number}", store.alice) for number in range(8)]

    outcomes = asyncio.run(_together(store, [adding(store, row, most=5) for row in rows]))

    queued = [outcome for outcome in outcomes if isinstance(outcome, str)]
    assert len(queued) == 5
    assert [type(outcome) for outcome in outcomes if outcome not in queued] == [QueueFull] * 3
    assert set(store.read(runs.unfinished, store.alice.id)) == set(queued)


def adding(store: Store, row: new_runs.NewRun, most: int) -> Any:
    first = new_runs.adding(row, most)
    assert first is not None
    return store.db.write_after(first, lambda conn, added: new_runs.add(conn, row, most, added=added))


def recording(store: Store, lease: str) -> Any:
    reports = [Started(1), Ended(2, EndReason.COMPLETED, run_time_ms=5)]
    first = recorder._beginning(lease, reports[0])
    return store.db.write_after(first.question, recorder._apply, lease, reports, first.change_of)


async def _together(store: Store, writes: list[Any]) -> list[Any]:
    """The outcomes of writes of which all wait when one writer becomes free; others stay busy to their end."""
    busy, ends = threading.Semaphore(0), [threading.Event() for _ in range(WRITERS if store.db.is_shared else 1)]

    def hold(_conn: Connection, end: threading.Event) -> None:
        busy.release()
        end.wait()

    held = []
    for end in ends:
        held.append(asyncio.create_task(store.db.write(hold, end)))
        await asyncio.to_thread(busy.acquire)
    waiting = [asyncio.ensure_future(write) for write in writes]
    await asyncio.sleep(0)  # each has begun: it waits for a writer
    ends[0].set()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    for end in ends:
        end.set()
    await asyncio.gather(*held)
    return outcomes
