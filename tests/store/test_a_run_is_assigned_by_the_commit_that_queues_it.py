"""A run that comes while a worker waits is assigned where it is queued, by the rules of placement, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from sqlalchemy import update

from comfyward.dispatch import transitions
from comfyward.dispatch.admission import Admission, Terms
from comfyward.dispatch.assigner import Assigner
from comfyward.dispatch.model_pins import PinnedModels
from comfyward.dispatch.placement import Rules
from comfyward.dispatch.publisher import Publisher
from comfyward.dispatch.revisions import Revisions
from comfyward.dispatch.secrets import Secrets
from comfyward.dispatch.waiting import WaitingWorkers
from comfyward.dispatch.worker_logs import WorkerLogs
from comfyward.dispatch.worker_orders import WorkerOrders, WorkerRef
from comfyward.dispatch.worker_sessions import WorkerSessions
from comfyward.dispatch.worker_signals import WorkerSignals
from comfyward.errors import QueueFull
from comfyward.runs.change import Change, RunAssigned, RunQueued
from comfyward.runs.run import DEFAULT_ENVIRONMENT, EndReason, Run, State
from comfyward.store import runs, schema
from comfyward.store.db import Database, now_ms
from comfyward.store.new_runs import NewRun
from comfyward.store.workers import Holder
from comfyward.worker.protocol import Ask, Started
from tests.store.conftest import Store

RULES = Rules(affinity_wait_ms=60_000)
UNBOUNDED = Terms({}, key_is_single_use=False, has_credit_limit=False, max_waiting=1000)


class Server:
    """The parts of a server between a submission and a worker, without the loop that assigns at other times."""

    def __init__(self, db: Database) -> None:
        signals, self.waiting = WorkerSignals(db.notices), WaitingWorkers(db.notices, asyncio.Event())
        self.db = db
        self.published: list[Change] = []
        self.publisher = publisher = Publisher(self.published.extend, self.waiting.on_changes)
        orders = WorkerOrders(db, WorkerLogs(db.notices, signals), Revisions(db, signals), PinnedModels(db))
        sessions = WorkerSessions(db, publisher, signals, orders, self.waiting, lease_s=15.0)
        self.assigner = Assigner(db, publisher, self.waiting, sessions, RULES, {})
        self.admission = Admission(self.assigner, Secrets(db.notices))

    async def asks(
        self, worker_id: str, *, idle: bool = True, warm: tuple[str, ...] = (), holding: tuple[str, ...] = ()
    ) -> asyncio.Task[Run | None]:
        """A worker that waits for a run."""
        ref = WorkerRef(worker_id, "L4", DEFAULT_ENVIRONMENT, "d", Holder("token", ""))
        ask = Ask(worker_id, "1", idle=idle, warm=list(warm), holding=list(holding), wait_s=60, heard=True)
        before, task = len(self.waiting), asyncio.create_task(self.assigner.ask(ref, ask))
        while len(self.waiting) == before:
            await asyncio.sleep(0)
        return task

    async def submits(self, new: NewRun) -> asyncio.Task[str]:
        """A submission in whose transaction a round is made."""
        task = asyncio.create_task(self.admission.admit(new, UNBOUNDED, {}))
        while not self.assigner.is_matching:
            await asyncio.sleep(0)
        return task


Scenario = Callable[[Server], Coroutine[Any, Any, None]]


def play(store: Store, scenario: Scenario) -> None:
    async def on_a_server() -> None:
        await scenario(Server(store.db))

    asyncio.run(on_a_server())


def state_of(store: Store, run_id: str) -> tuple[State, str | None, int]:
    run: Run = store.read(runs.get, store.alice.id, run_id)
    return run.state, run.worker_id, run.attempt


def test_the_worker_has_it_once_it_is_queued(store: Store) -> None:
    new = store.row("r")

    async def scenario(server: Server) -> None:
        asking = await server.asks("w")
        assert await server.admission.admit(new, UNBOUNDED, {}) == "r"
        run = await asking
        assert run is not None
        assert (run.id, run.state) == ("r", State.ASSIGNED)
        assert [type(change) for change in server.published] == [RunQueued, RunAssigned]

    play(store, scenario)
    assert state_of(store, "r") == (State.ASSIGNED, "w", 1)


def test_another_run_that_comes_first_is_assigned_instead(store: Store) -> None:
    new = store.row("r")
    store.new_run("urgent", store.bob, priority=1)

    async def scenario(server: Server) -> None:
        asking = await server.asks("w")
        await server.admission.admit(new, UNBOUNDED, {})
        run = await asking
        assert run is not None
        assert run.id == "urgent"

    play(store, scenario)
    assert state_of(store, "r") == (State.QUEUED, None, 0)


def test_a_run_may_wait_for_the_worker_that_has_its_models(store: Store) -> None:
    new = store.row("r", models=["/models/checkpoints/a.safetensors"])

    async def scenario(server: Server) -> None:
        idle = await server.asks("cold")
        busy = await server.asks("warm", idle=False, warm=("/models/checkpoints/a.safetensors",))
        await server.admission.admit(new, UNBOUNDED, {})
        assert len(server.waiting) == 2
        server.assigner.stop_assigning()
        assert await idle is await busy is None

    play(store, scenario)
    assert state_of(store, "r") == (State.QUEUED, None, 0)


def test_a_worker_whose_last_run_ended_while_it_waits_is_idle(store: Store) -> None:
    for run_id, worker_id in (("long", "busy"), ("one", "free"), ("two", "free")):
        store.new_run(run_id)
        store.assign(run_id, run_id, worker_id)
        store.record(run_id, [Started(1)])
    new = store.row("r")

    async def scenario(server: Server) -> None:
        busy = await server.asks("busy", idle=False, holding=("long",))
        free = await server.asks("free", idle=False, holding=("one", "two"))
        for run_id in ("one", "two"):
            held = await server.db.lookup(runs.get_any, run_id)
            assert held is not None
            server.publisher.publish(await server.db.write(transitions.ended, held, EndReason.COMPLETED, now_ms()))
            assert [worker.id for worker, _ in server.waiting.asking if worker.idle] == ["free"] * (run_id == "two")
        await server.admission.admit(new, UNBOUNDED, {})
        run = await free
        assert run is not None
        assert run.id == "r"
        busy.cancel()

    play(store, scenario)


def test_a_refused_run_leaves_the_worker_waiting(store: Store) -> None:
    new, other = store.row("r"), store.row("other", store.bob)
    store.new_run("waits", pool="A100")

    async def scenario(server: Server) -> None:
        asking = await server.asks("w")
        with pytest.raises(QueueFull):
            await server.admission.admit(new, Terms({}, False, False, max_waiting=1), {})
        assert (len(server.waiting), server.published) == (1, [])
        await server.admission.admit(other, UNBOUNDED, {})
        run = await asking
        assert run is not None
        assert run.id == "other"

    play(store, scenario)


def test_it_reaches_its_worker_although_its_caller_went_away(store: Store) -> None:
    new = store.row("r")

    async def scenario(server: Server) -> None:
        asking = await server.asks("w")
        submitting = await server.submits(new)
        submitting.cancel()
        run = await asking
        assert run is not None
        assert run.id == "r"

    play(store, scenario)
    assert state_of(store, "r") == (State.ASSIGNED, "w", 1)


def test_a_worker_that_hung_up_meanwhile_gives_it_back(store: Store) -> None:
    new = store.row("r")

    async def scenario(server: Server) -> None:
        asking = await server.asks("w")
        submitting = await server.submits(new)
        asking.cancel()
        assert await submitting == "r"

    play(store, scenario)
    assert state_of(store, "r") == (State.QUEUED, None, 0)


def test_a_row_that_cannot_be_read_stops_no_submission(store: Store) -> None:
    new = store.row("r")
    store.new_run("broken")
    store.write(lambda conn: conn.execute(update(schema.runs).values(models="{")))

    async def scenario(server: Server) -> None:
        asking = await server.asks("w")
        assert await server.admission.admit(new, UNBOUNDED, {}) == "r"
        asking.cancel()

    play(store, scenario)
    assert state_of(store, "r") == (State.QUEUED, None, 0)
