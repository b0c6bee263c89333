"""A staged run is taken back for an idle worker by rows alone: its worker is told, gives it back, and it is moved."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import select, update

from comfyward.dispatch import recaller, transitions
from comfyward.dispatch.assignment import AssignmentRound
from comfyward.dispatch.placement import Rules, Worker
from comfyward.dispatch.recaller import Recaller
from comfyward.dispatch.recalls import KEPT_MS
from comfyward.dispatch.waiting import WaitingWorkers
from comfyward.dispatch.worker_signals import WorkerSignals
from comfyward.runs.run import State
from comfyward.store import accounts, leases, queue, recalls, runs, workers
from comfyward.store.db import now_ms
from comfyward.store.schema import runs as table
from comfyward.store.workers import WorkerRow
from comfyward.worker.protocol import Released, Started
from tests.store.conftest import Store

LONG_AGO_S = 3600


def joins(store: Store, worker_id: str, pool: str = "L4") -> None:
    now = now_ms()
    row = WorkerRow(worker_id, "1", pool, "default", "d", f"host of {worker_id}", "none", {}, False, now, now, None)
    store.write(workers.register, row)


def staged_behind(store: Store, run_id: str, worker_id: str = "busy", **about: Any) -> None:
    """A run that waits for the GPU of a worker which executes another since long ago."""
    joins(store, worker_id)
    store.new_run(f"before {run_id}"[:21])
    store.assign(f"before {run_id}"[:21], f"{run_id} waits", worker_id)
    store.record(f"{run_id} waits", [Started(1)])
    store.new_run(run_id, **about)
    store.assign(run_id, run_id, worker_id)
    store.write(transitions.staged, run_id, now_ms() - LONG_AGO_S * 1000)


def ticks(store: Store, *asking: str, pool: str = "L4") -> dict[str, int]:
    """One look for workers that wait at this server."""

    async def once() -> dict[str, int]:
        waiting, signals = WaitingWorkers(store.db.notices, asyncio.Event()), WorkerSignals(store.db.notices)
        calls = [
            asyncio.create_task(waiting.run_for(Worker(each, pool, "default", False, frozenset()), "d", 60))
            for each in asking
        ]
        while len(waiting) < len(asking):
            await asyncio.sleep(0)
        try:
            return await Recaller(store.db, waiting, signals, Rules(affinity_wait_ms=0)).tick()
        finally:
            waiting.dismiss()
            await asyncio.gather(*calls)

    return asyncio.run(once())


def recalled(store: Store) -> dict[str, str]:
    query = select(table.c.id, table.c.recalled_for).where(table.c.recalled_for.is_not(None))
    return dict(store.read(lambda conn: [tuple(row) for row in conn.execute(query)]))


def test_it_is_recalled_once_for_a_worker_that_holds_nothing(store: Store) -> None:
    staged_behind(store, "r")
    staged_behind(store, "other", "also busy")
    joins(store, "idle")

    assert ticks(store, "busy") == {"recalled": 0}
    assert ticks(store, "busy", "also busy", "idle") == {"recalled": 1}
    assert recalled(store) == {"r": "idle"}
    assert store.read(leases.ordered, "busy") == ([], ["r"])
    assert store.read(leases.ordered, "also busy") == ([], [])
    assert store.write(recalls.recall, "r", "another", now_ms()) is False


def test_no_other_is_recalled_for_a_worker_while_one_is_on_its_way(store: Store) -> None:
    staged_behind(store, "r")
    staged_behind(store, "other", "also busy")
    joins(store, "idle")
    assert ticks(store, "idle") == {"recalled": 1}

    assert ticks(store, "idle") == {"recalled": 0}
    ordered_at = table.update().where(table.c.recalled_for == "idle").values(recalled_at=now_ms() - KEPT_MS)
    store.write(lambda conn: conn.execute(ordered_at))  # a worker of an earlier version never gives it back
    assert ticks(store, "idle") == {"recalled": 1}


def test_given_back_it_waits_at_its_place_and_costs_no_attempt(store: Store) -> None:
    staged_behind(store, "r", priority=7)
    joins(store, "idle")
    before = store.read(runs.get_any, "r")
    ticks(store, "idle")

    store.record("r", [Released(1)])

    after, [head] = store.read(runs.get_any, "r"), store.read(queue.heads, {"L4": {"default"}}, 10)
    assert (after.state, after.attempt, after.queued_at) == (State.QUEUED, 0, before.queued_at)
    assert (head.id, head.priority, head.kept_for) == ("r", 7, "idle")
    assert store.assign("r", "second", "idle").attempt == 1
    assert recalled(store) == {}


def test_one_that_starts_at_that_moment_is_no_longer_asked_for(store: Store) -> None:
    staged_behind(store, "r")
    joins(store, "idle")
    ticks(store, "idle")

    store.record("r", [Started(1)])

    assert store.read(leases.ordered, "busy") == ([], [])
    assert store.read(runs.get_any, "r").state is State.RUNNING
    assert ticks(store, "idle") == {"recalled": 0}


def test_one_that_is_cancelled_is_only_cancelled(store: Store) -> None:
    staged_behind(store, "r")
    joins(store, "idle")
    ticks(store, "idle")

    store.write(runs.request_cancel, store.alice.id, "r", now_ms())

    assert store.read(leases.ordered, "busy") == (["r"], [])
    assert store.write(recalls.recall, "r", "idle", now_ms()) is False


@pytest.mark.parametrize("why", ["nothing executes there", "its files are fetched", "cancelled", "deadline", "pool"])
def test_others_stay_where_they_are(store: Store, why: str) -> None:
    now = now_ms()
    staged_behind(store, "r", start_by=now + 2_000 if why == "deadline" else None)
    joins(store, "idle", "T4" if why == "pool" else "L4")
    match why:
        case "nothing executes there":
            [before] = [run for run in store.read(leases.leased_by, "busy") if run.state is State.RUNNING]
            store.write(transitions.given_back, before, now)
        case "its files are fetched":
            store.write(lambda conn: conn.execute(update(table).values(staged_at=None)))
        case "cancelled":
            store.write(runs.request_cancel, store.alice.id, "r", now)

    assert ticks(store, "idle", pool="T4" if why == "pool" else "L4") == {"recalled": 0}


def test_one_that_was_staged_while_there_was_credit_is_assigned_again_without(store: Store) -> None:
    staged_behind(store, "r")
    joins(store, "idle")
    ticks(store, "idle")
    store.record("r", [Released(1)])
    store.new_run("later")
    store.write(accounts.set_credit_limit, store.alice.id, 0.0)
    idle = Worker("idle", "L4", "default", True, frozenset())

    outcome = store.write(AssignmentRound([(idle, "d")], [], Rules(affinity_wait_ms=0), {}, 10_000, {}).apply)

    assert [assigned.run.id for assigned in outcome.assigned] == ["r"]
    assert store.read(runs.get_any, "later").end_reason == "insufficient_credit"


def test_the_sizes_of_stored_files_are_known(store: Store) -> None:
    files = {"/models/checkpoints/a": {"blob": "d1", "size": 30 << 30}, "/input/b.png": {"url": "https://h/b"}}
    staged_behind(store, "r", files=files)

    [staged] = store.read(recalls.staged, {"L4"}, 0)

    assert [(each.name, each.is_model, each.size) for each in staged.files] == [
        ("d1", True, 30 << 30),
        ("https://h/b", False, None),
    ]
    assert (staged.run.files, staged.worker_id, staged.host) == ({"d1", "https://h/b"}, "busy", "host of busy")


def test_nobody_looks_while_no_worker_waits(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recaller, "_due", lambda *_: pytest.fail("it looked"))

    assert ticks(store) == {}
