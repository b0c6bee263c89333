"""A cancel that comes while a run leaves its worker ends the run: in the queue nobody would be given it, for ever."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Connection, text

from comfyward.dispatch import transitions
from comfyward.runs.change import RunEnded
from comfyward.runs.run import EndReason, Run, State
from comfyward.store import leases, runs
from comfyward.store.db import now_ms
from tests.looks import looks
from tests.store.conftest import Store


@pytest.mark.parametrize(
    "leaves",
    [
        lambda conn, run: transitions.given_back(conn, run, now_ms()),
        lambda conn, run: transitions.ended(conn, run, EndReason.WORKER_LOST, now_ms()),
        lambda conn, run: transitions.ended(conn, run, EndReason.OOM, now_ms()),
    ],
    ids=["given back", "lost with its worker", "to a larger pool"],
)
@pytest.mark.parametrize("knows", [True, False], ids=["read after the cancel", "read before it"])
def test_its_worker_has_not_heard_of_it(store: Store, leaves: Callable[[Connection, Run], Any], knows: bool) -> None:
    store.new_run("r", fallback_pool="H100", max_attempts=2)
    before = store.assign("r")
    store.write(transitions.cancelled, store.alice.id, "r", now_ms())
    after = store.read(runs.get_any, "r")
    assert after is not None

    change = store.write(leaves, after if knows else before)

    assert isinstance(change, RunEnded)
    assert (change.run.state, change.run.end_reason) == (State.CANCELLED, EndReason.CANCELLED)
    assert change.run == store.read(runs.get_any, "r")


def test_it_was_requeued_while_its_cancel_was_stored(store: Store) -> None:
    """The cancel waits for the row, which the other transaction of PostgreSQL holds until it is committed."""
    store.new_run("r")
    leased = store.assign("r")

    with ThreadPoolExecutor(1) as other:

        def given_back(conn: Connection) -> Future[Any]:
            leases.give_back(conn, leased, now_ms())
            cancelling = other.submit(store.write, transitions.cancelled, store.alice.id, "r", now_ms())
            _wait_for_one_that_waits(conn)
            return cancelling

        run, change = store.write(given_back).result(60)

    assert run.state is State.CANCELLED
    assert isinstance(change, RunEnded)


def _wait_for_one_that_waits(conn: Connection) -> None:
    """Waits until another transaction waits for a row; SQLite begins none before this one has ended."""
    if conn.dialect.name == "sqlite":
        return
    query = text("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()")
    for _ in looks(60):
        conn.execute(text("SELECT pg_stat_clear_snapshot()"))  # a transaction sees no later activity
        if conn.execute(query).first():
            return
    raise AssertionError("nobody waits")


def test_a_lease_of_another_worker_is_not_ended(store: Store) -> None:
    store.new_run("r")
    before = store.assign("r")
    store.write(transitions.given_back, before, now_ms())
    store.assign("r", lease="another")
    store.write(transitions.cancelled, store.alice.id, "r", now_ms())

    assert store.write(transitions.given_back, before, now_ms()) is None
    assert store.read(runs.get, store.alice.id, "r").state is State.ASSIGNED
