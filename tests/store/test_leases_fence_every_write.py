"""A lease is a right to one attempt: who does not hold it changes nothing."""

import asyncio
import dataclasses

import pytest
from sqlalchemy.exc import IntegrityError

from comfyward.dispatch import maintenance, transitions
from comfyward.dispatch.maintenance import Rescue
from comfyward.dispatch.publisher import Publisher
from comfyward.errors import StaleLease
from comfyward.runs.change import Change
from comfyward.runs.run import EndReason, State
from comfyward.store import events, leases, runs
from comfyward.store.db import now_ms
from comfyward.store.schema import runs as table
from comfyward.worker.protocol import Ended, FailureReport, Released, Started
from tests.store.conftest import Store


def test_a_run_is_assigned_once(store: Store) -> None:
    store.new_run("r")

    assert store.assign("r", "first").attempt == 1
    assert store.assign("r", "second") is None


def test_reports_are_taken_once_and_in_order(store: Store) -> None:
    store.new_run("r")
    store.assign("r")
    ended = Ended(2, EndReason.COMPLETED, run_time_ms=5)

    _, first = store.record("lease", [Started(1)])
    _, repeated = store.record("lease", [Started(1), ended])

    assert [event.payload.state for event in first[1].events] == ["running"]
    assert [event.payload.state for event in repeated[2].events] == ["succeeded"]
    with pytest.raises(StaleLease):
        store.record("lease", [ended])
    numbers = [event.seq for event in store.read(events.after, store.alice.id, "r", 0)]
    assert numbers == [3, 4]


def test_an_expired_lease_is_valid_until_the_run_is_rescued(store: Store) -> None:
    store.new_run("r")
    store.assign("r", lease_ms=0)
    now = now_ms() + 1

    [expired] = store.read(leases.expired, now)
    assert store.write(leases.renew, "w", ["lease", "unknown"], expires_at=now) == {"lease"}
    store.write(transitions.ended, expired, EndReason.WORKER_LOST, now)
    assert store.read(runs.get_any, "r").state is State.QUEUED
    assert store.write(leases.renew, "w", ["lease"], expires_at=now + 1000) == set()
    with pytest.raises(StaleLease):
        store.record("lease", [Started(1)])

    assert store.assign("r", "second").attempt == 2
    assert store.write(transitions.ended, expired, EndReason.WORKER_LOST, now) is None  # a late rescue


def test_a_resumed_server_waits_for_heartbeats_before_it_declares_workers_lost(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.new_run("r")
    store.assign("r", lease_ms=0)
    told: list[Change] = []
    rescue = Rescue(store.db, Publisher(told.extend))
    monkeypatch.setattr(maintenance, "now_ms", lambda: now_ms() + 10_000)

    assert asyncio.run(rescue.tick()) == {}  # ten seconds have passed at once
    assert store.read(runs.get_any, "r").state is State.ASSIGNED
    assert asyncio.run(rescue.tick()) == {"rescued": 1}
    assert [event.payload.state for change in told for event in change.events] == ["queued"]


def test_releasing_an_unstarted_run_costs_no_attempt(store: Store) -> None:
    store.new_run("r")
    store.assign("r")

    store.record("lease", [Released(1)])

    run = store.read(runs.get_any, "r")
    assert (run.state, run.attempt, run.lease) == (State.QUEUED, 0, None)


def test_attempts_are_finite(store: Store) -> None:
    store.new_run("r", max_attempts=2)
    crash = Ended(1, EndReason.COMFYUI_CRASHED, failure=FailureReport("it crashed"))
    for attempt in (1, 2):
        assert store.assign("r", f"lease-{attempt}").attempt == attempt
        store.record(f"lease-{attempt}", [crash])

    run = store.read(runs.get_any, "r")
    assert (run.state, run.end_reason, run.failure.message) == (State.FAILED, "comfyui_crashed", "it crashed")
    assert run.failure.hint


def test_a_cancel_wins_over_a_retry(store: Store) -> None:
    store.new_run("r")
    store.assign("r")
    store.write(runs.request_cancel, store.alice.id, "r", now_ms())
    assert store.read(leases.ordered, "w") == (["lease"], [])

    store.record("lease", [Ended(1, EndReason.COMFYUI_CRASHED)])

    assert store.read(runs.get_any, "r").state is State.CANCELLED


def test_a_final_run_stays_final(store: Store) -> None:
    store.new_run("r")
    run = store.assign("r")
    store.record("lease", [Ended(1, EndReason.COMPLETED, run_time_ms=1)])

    for late in (run, dataclasses.replace(run, state=State.RUNNING)):
        assert store.write(transitions.ended, late, EndReason.WORKER_LOST, now_ms()) is None
    assert store.read(runs.get_any, "r").state is State.SUCCEEDED


def test_a_transition_that_is_not_in_the_table_of_transitions_is_a_fault_of_ours(store: Store) -> None:
    store.new_run("r")
    store.assign("r")
    store.record("lease", [Ended(1, EndReason.COMPLETED, run_time_ms=1)])
    over = store.read(runs.get_any, "r")

    with pytest.raises(AssertionError, match="succeeded -> failed"):
        store.write(transitions.ended, over, EndReason.TIMEOUT, now_ms())
    with pytest.raises(AssertionError, match="succeeded -> queued"):
        store.write(transitions.given_back, over, now_ms())


@pytest.mark.parametrize(
    "values",
    [
        {"state": "succeeded"},
        {"state": "assigned"},
        {"state": "failed", "finished_at": 1},
        {"state": "nonsense"},
        {"lease": "x", "lease_expires_at": 1},
        {"end_reason": "nonsense"},
    ],
)
def test_the_database_refuses_invalid_states(store: Store, values: dict[str, object]) -> None:
    store.new_run("r")
    with pytest.raises(IntegrityError):
        store.write(lambda conn: conn.execute(table.update().values(**values)))
