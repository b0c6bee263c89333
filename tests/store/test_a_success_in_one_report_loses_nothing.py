"""A run that succeeds with all its results in its last report is not read before; it ends as any other does."""

import pytest

from comfyward.errors import StaleLease
from comfyward.runs.event import EventType
from comfyward.runs.run import EndReason, Run, State
from comfyward.store import blobs, events, files, runs
from comfyward.store.db import now_ms
from comfyward.worker.protocol import Ended, OutputFile, Produced, Started
from tests.store.conftest import Store

EARLY, LATE, SHOT = "1" * 64, "2" * 64, "3" * 64


def enclosed(name: str, digest: str) -> OutputFile:
    return OutputFile(name, digest, 4, "image/png", "1", data=b"data")


@pytest.fixture
def begun(store: Store) -> Store:
    for digest in (EARLY, LATE, SHOT):
        store.write(blobs.add, digest, "s" * 64, 4, now_ms())
    store.new_run("r")
    store.assign("r", price=2.0)
    store.record("lease", [Started(1)])
    return store


def run_of(store: Store) -> Run:
    return store.read(runs.get, store.alice.id, "r")


def told(store: Store) -> list[tuple[int | None, EventType]]:
    return [(event.seq, event.type) for event in store.read(events.after, store.alice.id, "r", 3)]


def test_its_results_are_stored_in_order_with_their_events(begun: Store) -> None:
    made = [enclosed("b.png", LATE), enclosed("a.png", EARLY)]
    nodes = {"outputs": {"1": {"text": ["x"]}}, "meta": {}}

    over = Ended(
        2, EndReason.COMPLETED, made, nodes, [enclosed("s.png", SHOT)], order=["a.png", "b.png"], log="\x1b[1mdone"
    )
    _, taken = begun.record("lease", [over])

    run = run_of(begun)
    assert (run.state, run.end_reason, run.lease) == (State.SUCCEEDED, EndReason.COMPLETED, None)
    assert [(each.name, each.digest, each.size) for each in run.outputs] == [("a.png", EARLY, 4), ("b.png", LATE, 4)]
    assert [each.name for each in run.previews] == ["s.png"]
    assert run.node_results == '{"outputs":{"1":{"text":["x"]}},"meta":{}}'
    assert begun.read(runs.log_of, begun.alice.id, "r") == "done"
    assert told(begun) == [(4, EventType.OUTPUT), (5, EventType.OUTPUT), (6, EventType.STATUS)]
    assert taken[2].run == run
    for each in run.outputs:
        assert begun.read(files.by_id, begun.alice.id, each.id).run_id == "r"


def test_it_keeps_what_was_reported_before(begun: Store) -> None:
    begun.record("lease", [Produced(2, [enclosed("a.png", EARLY)])])

    begun.record("lease", [Ended(3, EndReason.COMPLETED, [enclosed("b.png", LATE)])])

    assert [each.name for each in run_of(begun).outputs] == ["a.png", "b.png"]
    assert run_of(begun).state is State.SUCCEEDED


def test_it_is_taken_once_and_only_under_its_lease(begun: Store) -> None:
    over = Ended(2, EndReason.COMPLETED, [enclosed("a.png", EARLY)])
    with pytest.raises(StaleLease):
        begun.record("another", [over])
    begun.record("lease", [over])
    with pytest.raises(StaleLease):
        begun.record("lease", [over])

    assert told(begun) == [(4, EventType.OUTPUT), (5, EventType.STATUS)]


def test_no_more_time_is_charged_than_the_worker_had_it(begun: Store) -> None:
    run = run_of(begun)
    assert run.assigned_at is not None
    report = Ended(2, EndReason.COMPLETED, run_time_ms=10**9)
    begun.record("lease", [report])

    over = run_of(begun)
    assert over.finished_at is not None
    assert over.run_time_ms == over.finished_at - run.assigned_at
