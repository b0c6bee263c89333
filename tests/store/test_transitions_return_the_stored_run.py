"""Every transition carries the run as it is stored, without another read."""

import dataclasses
from typing import Any

import msgspec
import pytest

from comfyward.dispatch import transitions
from comfyward.dispatch.transitions import AttemptResult
from comfyward.runs.change import RunEnded, RunRequeued
from comfyward.runs.output import Output
from comfyward.runs.run import EndReason, State
from comfyward.store import leases, runs
from comfyward.store.db import now_ms
from tests.store.conftest import Store

OUTPUT = Output("f", "a.png", "d", 1, "image/png")
PREVIEW = Output("g", "b.png", "d", 1, "image/png")
RESULT = AttemptResult([OUTPUT], [PREVIEW], node_results='{"outputs": {}}', run_time_ms=7, log="log")


@pytest.mark.parametrize(
    ("reason", "kind", "state"),
    [
        (EndReason.COMPLETED, RunEnded, State.SUCCEEDED),
        (EndReason.NODE_ERROR, RunEnded, State.FAILED),
        (EndReason.WORKER_LOST, RunRequeued, State.QUEUED),
        (EndReason.OOM, RunRequeued, State.QUEUED),
    ],
)
def test_when_an_attempt_is_over(store: Store, reason: EndReason, kind: type[Any], state: State) -> None:
    store.new_run("r", fallback_pool="H100")
    store.assign("r")
    begun = store.write(_begun, "lease")
    assert begun.run.state is State.RUNNING
    produced = store.write(_produced, "r")

    change = store.write(transitions.ended, produced.run, reason, now_ms(), result=RESULT)

    assert (type(change), change.run.state) == (kind, state)
    assert change.run == store.read(runs.get_any, "r")


def test_when_a_run_goes_to_a_larger_pool(store: Store) -> None:
    store.new_run("r", max_attempts=1, fallback_pool="H100")

    change = store.write(transitions.ended, store.assign("r"), EndReason.OOM, now_ms())

    assert (type(change), change.run.pool) == (RunRequeued, "H100")
    assert change.run == store.read(runs.get_any, "r")


def test_when_a_run_is_released(store: Store) -> None:
    store.new_run("r")

    change = store.write(transitions.given_back, store.assign("r"), now_ms())

    assert (change.run.state, change.run.attempt) == (State.QUEUED, 0)
    assert change.run == store.read(runs.get_any, "r")


def test_when_a_run_ends_in_the_queue(store: Store) -> None:
    store.new_run("r")

    change = store.write(transitions.ended, store.read(runs.get_any, "r"), EndReason.CANCELLED, now_ms())

    assert (change.run.state, change.run.end_reason) == (State.CANCELLED, EndReason.CANCELLED)
    assert change.run == store.read(runs.get_any, "r")


def _begun(conn: Any, lease: str) -> Any:
    return transitions.started(conn, leases.starting(lease, 1, now_ms()).ask(conn), now_ms())


def _produced(conn: Any, run_id: str) -> Any:
    run = runs.get_any(conn, run_id)
    assert run is not None
    left = dataclasses.replace(
        RESULT, outputs=[msgspec.structs.replace(OUTPUT, id="first")], previews=[], run_time_ms=None
    )
    return transitions.produced(conn, run, left, taken=1, report_seq=2, now=now_ms())
