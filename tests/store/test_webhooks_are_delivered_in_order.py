"""Events of a run are delivered in order, and no receiver waits for another one."""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator

from sqlalchemy import Connection

from comfyward.delivery.webhooks import PER_RECEIVER, Webhooks, WebhooksDue
from comfyward.files.guard import Guard
from comfyward.runs.run import Run
from comfyward.store import runs, webhooks
from comfyward.store.db import Database
from comfyward.store.webhooks import REFUSED_ENOUGH, Delivery, Room
from tests.fakes.http import receiver
from tests.servers import free_port
from tests.store.conftest import Store

NOW = 1_000_000
ROOM = Room()
RETRY_S = 1e10  # the times here are long ago


def _announce(store: Store, run_id: str, seq: int, event: str, now: int = NOW, url: str | None = None) -> Delivery:
    def add(conn: Connection) -> Delivery:
        run = runs.get_any(conn, run_id)
        assert run is not None
        told = Run(**{**vars(run), "event_seq": seq, "webhook": url or run.webhook})
        webhooks.add(conn, told, event, now)
        return max(webhooks.find(conn, run.account_id, run_id, 100), key=lambda each: each.seq)

    return store.write(add)


def _due(store: Store, now: int = NOW, room: Room = ROOM) -> list[tuple[str, str]]:
    found = store.read(webhooks.due, now, room)
    return [(each.delivery.run_id, each.delivery.event) for each in found]


def _failed(store: Store, delivery: Delivery, status: int | None = None, times: int = 1, again_at: int = NOW) -> None:
    for attempt in range(times):
        tried = Delivery(**{**vars(delivery), "attempts": delivery.attempts + attempt})
        outcome = {"state": "pending", "status": status, "answer": "", "next_attempt_at": again_at, "now": NOW}
        store.write(webhooks.record, tried, **outcome)


def _delivered(store: Store, delivery: Delivery) -> None:
    outcome = {"state": "delivered", "status": 200, "answer": "", "next_attempt_at": None, "now": NOW}
    store.write(webhooks.record, delivery, **outcome)


def test_a_later_event_waits_until_the_earlier_one_is_delivered(store: Store) -> None:
    store.new_run("r", webhook="http://down/hook")
    store.new_run("s", webhook="http://down/hook")
    started = _announce(store, "r", 3, "run.started")
    _failed(store, started, again_at=NOW + 60_000)
    completed = _announce(store, "r", 5, "run.completed")
    _announce(store, "s", 3, "run.started")

    assert _due(store) == [("s", "run.started")]
    assert store.read(webhooks.next_due, Room(frozenset({"s"}))) == NOW + 60_000
    assert set(_due(store, NOW + 60_000)) == {("r", "run.started"), ("s", "run.started")}

    _delivered(store, Delivery(**{**vars(started), "attempts": 1}))
    assert set(_due(store)) == {("r", "run.completed"), ("s", "run.started")}
    _delivered(store, completed)
    assert _due(store) == [("s", "run.started")]


def test_events_of_one_millisecond_are_in_order(store: Store) -> None:
    store.new_run("r", webhook="http://up/hook")
    for seq, event in ((3, "run.started"), (6, "run.started"), (8, "run.failed")):
        _announce(store, "r", seq, event)

    told = []
    while found := store.read(webhooks.due, NOW, ROOM):
        [due] = found
        told.append((due.delivery.seq, due.delivery.event))
        _delivered(store, due.delivery)

    assert told == [(3, "run.started"), (6, "run.started"), (8, "run.failed")]


def test_an_abandoned_delivery_does_not_block_later_ones(store: Store) -> None:
    store.new_run("r", webhook="http://gone/hook")
    started = _announce(store, "r", 3, "run.started")
    _announce(store, "r", 5, "run.completed")
    outcome = {"state": "failed", "status": 410, "answer": "", "next_attempt_at": None, "now": NOW}
    store.write(webhooks.record, started, **outcome)

    assert _due(store) == [("r", "run.completed")]


def test_repeated_refusals_of_the_first_event_still_deliver_the_last(store: Store) -> None:
    later = NOW + 3_600_000
    store.new_run("r", webhook="http://picky/hook")
    started = _announce(store, "r", 3, "run.started")
    _failed(store, started, 400, REFUSED_ENOUGH, again_at=later)
    assert _due(store, later) == [("r", "run.started")]  # nothing waits behind it

    _announce(store, "r", 5, "run.completed")

    assert _due(store, later) == [("r", "run.completed")]
    states = {each.event: each.state for each in store.read(webhooks.find, store.alice.id, "r", 10)}
    assert states == {"run.started": "failed", "run.completed": "pending"}


def test_the_first_event_is_abandoned_at_the_refusal_limit(store: Store) -> None:
    store.new_run("r", webhook="http://picky/hook")
    started = _announce(store, "r", 3, "run.started")
    _announce(store, "r", 5, "run.completed")

    _failed(store, started, 422, REFUSED_ENOUGH - 1)
    assert _due(store) == [("r", "run.started")]
    _failed(store, Delivery(**{**vars(started), "attempts": REFUSED_ENOUGH - 1}), 422)

    assert _due(store) == [("r", "run.completed")]


def test_an_unreachable_receiver_gets_every_event_eventually(store: Store) -> None:
    store.new_run("r", webhook="http://down/hook")
    started = _announce(store, "r", 3, "run.started")
    _announce(store, "r", 5, "run.completed")
    for attempt, status in enumerate((None, 502, 503, 504, 429) * REFUSED_ENOUGH):
        _failed(store, Delivery(**{**vars(started), "attempts": attempt}), status)

    assert _due(store) == [("r", "run.started")]


def test_resending_the_last_event_sends_earlier_ones_first(store: Store) -> None:
    store.new_run("r", webhook="http://down/hook")
    started = _announce(store, "r", 3, "run.started")
    _failed(store, started, again_at=NOW + 3_600_000)
    completed = _announce(store, "r", 5, "run.completed")

    store.write(webhooks.resend, store.alice.id, completed.id, NOW)
    assert _due(store) == [("r", "run.started")]

    _delivered(store, Delivery(**{**vars(started), "attempts": 1}))
    _delivered(store, completed)
    store.write(webhooks.resend, store.alice.id, completed.id, NOW + 1)
    store.write(webhooks.resend, store.alice.id, started.id, NOW + 2)
    assert _due(store, NOW + 2) == [("r", "run.started")]


def test_deliveries_in_flight_and_busy_receivers_are_skipped(store: Store) -> None:
    for run_id, url in (("a", "https://One.example/x?1"), ("b", "https://one.example:443/y"), ("c", "http://two/")):
        store.new_run(run_id, webhook=url)
        _announce(store, run_id, 3, "run.started")
    store.new_run("d", store.bob, webhook="http://two/")
    _announce(store, "d", 3, "run.started")

    [of_a, of_b] = [store.read(webhooks.find, store.alice.id, run_id, 1)[0] for run_id in ("a", "b")]
    assert of_a.receiver == of_b.receiver
    assert {run for run, _ in _due(store, room=Room(frozenset({"a"})))} == {"b", "c", "d"}
    busy = frozenset({(store.alice.id, of_a.receiver), (store.alice.id, "http://two:80")})
    assert {run for run, _ in _due(store, room=Room(receivers=busy))} == {"d"}
    assert {run for run, _ in _due(store, room=Room(left={store.alice.id: 0}))} == {"d"}
    assert len(_due(store, room=Room(left={store.alice.id: 2}))) == 3


def test_one_dead_receiver_does_not_slow_another(store: Store) -> None:
    dead_count = PER_RECEIVER * 8
    with receiver() as dead, receiver() as healthy:
        dead.hold = threading.Event()
        for number in range(dead_count):
            store.new_run(f"dead-{number}", webhook=dead.url)
            _announce(store, f"dead-{number}", 3, "run.started")
        store.new_run("healthy", webhook=healthy.url)
        _announce(store, "healthy", 3, "run.started", NOW + 1)
        _announce(store, "healthy", 5, "run.completed", NOW + 1)

        async def told_meanwhile() -> list[int]:
            async with _delivering(store.db):
                told = [await asyncio.to_thread(healthy.next, 10) for _ in range(2)]
                return [json.loads(each.body)["seq"] for each in told]

        try:
            assert asyncio.run(told_meanwhile()) == [3, 5]
            assert dead.received.qsize() <= PER_RECEIVER
        finally:
            dead.hold.set()


def test_a_recovered_receiver_gets_events_in_order(store: Store) -> None:
    port = free_port()
    for number in range(6):
        store.new_run(f"r{number}", webhook=f"http://127.0.0.1:{port}/hook")
        started = _announce(store, f"r{number}", 3, "run.started")
        _failed(store, started)
        _announce(store, f"r{number}", 5, "run.completed", NOW - 1)  # due sooner than the start

    async def told() -> list[tuple[str, int]]:
        with receiver(port) as back:
            back.statuses = [503] * 3
            async with _delivering(store.db):
                messages = [await asyncio.to_thread(back.next) for _ in range(15)]
            return [(body["run"], body["seq"]) for body in (json.loads(each.body) for each in messages)]

    messages = asyncio.run(told())

    for number in range(6):
        seqs = [seq for run, seq in messages if run == f"r{number}"]
        assert seqs == sorted(seqs)
        assert set(seqs) == {3, 5}


@contextlib.asynccontextmanager
async def _delivering(db: Database) -> AsyncIterator[None]:
    def render(run: Run) -> bytes:
        return json.dumps({"run": run.id, "seq": run.event_seq}).encode()

    loop = Webhooks(db, WebhooksDue(db.notices), Guard.allowing(["127.0.0.1"]), render, RETRY_S)
    loop.start()
    try:
        yield
    finally:
        await loop.stop()
