"""Outputs come while a run is on its way: each report once, and each attempt its own."""

import dataclasses
from typing import Any

import pytest

from comfyward.dispatch import transitions
from comfyward.errors import NotFound
from comfyward.runs.event import EventType
from comfyward.runs.run import EndReason, Run, State
from comfyward.store import blobs, events, files, leases, runs
from comfyward.store.db import now_ms
from comfyward.worker.protocol import Ended, OutputFile, Produced, Started
from tests.store.conftest import Store

FIRST, SECOND, AGAIN = "1" * 64, "2" * 64, "3" * 64


def produced(seq: int, digest: str = FIRST, name: str = "a.png", node: str = "1") -> Produced:
    return Produced(
        seq, [OutputFile(name, digest, 1, "image/png", node)], {"outputs": {node: {"text": [name]}}, "meta": {}}
    )


@pytest.fixture
def begun(store: Store) -> Store:
    for digest in (FIRST, SECOND, AGAIN):
        store.write(blobs.add, digest, "s" * 64, 1, 1)
    store.new_run("r")
    store.assign("r")
    store.record("lease", [Started(1)])
    return store


def outputs(store: Store) -> list[tuple[str, str]]:
    return [(each.name, each.digest) for each in run_of(store).outputs]


def run_of(store: Store) -> Run:
    return store.read(runs.get, store.alice.id, "r")


def told(store: Store) -> list[tuple[int | None, EventType]]:
    return [(event.seq, event.type) for event in store.read(events.after, store.alice.id, "r", 3)]


def test_each_report_is_taken_once_and_the_last_adds_the_rest(begun: Store) -> None:
    for _ in range(2):
        begun.record("lease", [Started(1), produced(2)])
    begun.record("lease", [produced(2), produced(3, SECOND, "b.png", "2")])
    assert (run_of(begun).state, outputs(begun)) == (State.RUNNING, [("a.png", FIRST), ("b.png", SECOND)])
    assert run_of(begun).node_results == '{"outputs":{"1":{"text":["a.png"]},"2":{"text":["b.png"]}},"meta":{}}'

    rest = [OutputFile("c.png", AGAIN, 1, "image/png")]
    begun.record("lease", [produced(3), Ended(4, EndReason.NODE_ERROR, rest)])

    assert run_of(begun).state is State.FAILED
    assert outputs(begun) == [("a.png", FIRST), ("b.png", SECOND), ("c.png", AGAIN)]
    output, status = EventType.OUTPUT, EventType.STATUS
    assert told(begun) == [(4, output), (5, output), (6, output), (7, status)]


@pytest.mark.parametrize(
    ("rest", "order", "names"),
    [
        ([], ["b.png", "a.png"], ["b.png", "a.png"]),
        (["c.png", "d.png"], ["d.png", "b.png", "absent.png", "a.png"], ["d.png", "b.png", "a.png", "c.png"]),
        (["c.png"], [], ["a.png", "b.png", "c.png"]),
    ],
)
def test_the_last_report_says_in_which_order_all_of_them_are(
    begun: Store, rest: list[str], order: list[str], names: list[str]
) -> None:
    begun.record("lease", [produced(2), produced(3, SECOND, "b.png", "2")])
    files_left = [OutputFile(name, AGAIN, 1, "image/png") for name in rest]

    _, taken = begun.record("lease", [Ended(4, EndReason.COMPLETED, files_left, order=order)])

    assert [name for name, _ in outputs(begun)] == names
    [over] = taken.values()
    assert [each.name for each in over.run.outputs] == names


def test_a_file_that_was_written_again_takes_the_place_of_what_it_was(begun: Store) -> None:
    begun.record("lease", [produced(2), produced(3, SECOND, "b.png")])
    [old, _] = run_of(begun).outputs

    begun.record("lease", [produced(4, AGAIN), Ended(5, EndReason.COMPLETED)])

    assert outputs(begun) == [("a.png", AGAIN), ("b.png", SECOND)]
    with pytest.raises(NotFound):
        begun.read(files.by_id, begun.alice.id, old.id)
    assert begun.read(files.newest_result, begun.alice.id, "output", "a.png").digest == AGAIN


def test_another_attempt_begins_with_nothing(begun: Store) -> None:
    begun.record("lease", [produced(2)])
    [old] = run_of(begun).outputs
    begun.record("lease", [Ended(3, EndReason.COMFYUI_CRASHED, [OutputFile("b.png", SECOND, 1, "image/png")])])
    run = run_of(begun)
    assert (run.state, run.outputs, run.previews, run.node_results) == (State.QUEUED, [], [], None)
    with pytest.raises(NotFound):
        begun.read(files.by_id, begun.alice.id, old.id)
    assert begun.read(blobs.orphans, now_ms()) == [FIRST, SECOND, AGAIN]

    begun.assign("r", "second")
    begun.record("second", [Started(1), produced(2), Ended(3, EndReason.COMPLETED)])

    assert outputs(begun) == [("a.png", FIRST)]
    assert begun.read(blobs.orphans, now_ms()) == [SECOND, AGAIN]


@pytest.mark.parametrize("attempts_left", [True, False])
def test_a_lost_worker_loses_no_reported_output(begun: Store, attempts_left: bool) -> None:
    seen: Any = begun.read(leases.leased, "lease")[0]  # before the report that came meanwhile
    begun.record("lease", [produced(2)])
    if not attempts_left:
        begun.write(runs.request_cancel, begun.alice.id, "r", now_ms())
        seen = dataclasses.replace(seen, cancel_requested_at=1)

    begun.write(transitions.ended, seen, EndReason.WORKER_LOST, now_ms())

    run = run_of(begun)
    if attempts_left:
        assert (run.state, run.outputs) == (State.QUEUED, [])
        assert begun.read(blobs.orphans, now_ms()) == [FIRST, SECOND, AGAIN]
    else:
        assert (run.state, outputs(begun)) == (State.CANCELLED, [("a.png", FIRST)])
        assert begun.read(blobs.orphans, now_ms()) == [SECOND, AGAIN]
