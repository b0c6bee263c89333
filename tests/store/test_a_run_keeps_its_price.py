"""The price of an attempt's GPU time is the one of the moment when its worker got it, whatever it is later."""

from __future__ import annotations

from comfyward.dispatch import transitions
from comfyward.dispatch.transitions import AttemptResult
from comfyward.runs.run import EndReason
from comfyward.store import accounts
from comfyward.store.db import now_ms
from tests.store.conftest import Store


def test_a_run_keeps_its_price(store: Store) -> None:
    store.new_run("r")
    store.new_run("later")
    run = store.assign("r", "first", price=2.0)
    later = store.assign("later", "second", price=3.0)

    for each in (run, later):
        store.write(transitions.ended, each, EndReason.COMPLETED, now_ms(), result=AttemptResult(run_time_ms=1500))

    assert store.read(accounts.cost_of, store.alice.id, "r") == 3.0
    assert store.read(accounts.cost_of, store.alice.id, "later") == 4.5


def test_another_attempt_has_the_price_of_its_own_time(store: Store) -> None:
    store.new_run("r")
    lost = store.assign("r", "first", price=2.0)
    store.write(transitions.ended, lost, EndReason.WORKER_LOST, now_ms(), result=AttemptResult(run_time_ms=1000))

    run = store.assign("r", "second", price=5.0)
    store.write(transitions.ended, run, EndReason.COMPLETED, now_ms(), result=AttemptResult(run_time_ms=1000))

    assert store.read(accounts.cost_of, store.alice.id, "r") == 5.0
