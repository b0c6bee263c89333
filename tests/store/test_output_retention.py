"""Outputs are files of the account as long as their run is there; previews are forgotten after a while."""

import pytest

from comfyward.dispatch import transitions
from comfyward.dispatch.transitions import AttemptResult
from comfyward.errors import NotFound
from comfyward.runs.output import Output
from comfyward.runs.run import EndReason
from comfyward.store import blobs, files, runs
from comfyward.store.db import now_ms
from tests.store.conftest import Store

OUTPUT, PREVIEW, BOTH = "1" * 64, "2" * 64, "3" * 64


def left(digest: str, name: str, file_id: str) -> Output:
    return Output(file_id, name, digest, 1, "image/png", "9")


@pytest.fixture
def done(store: Store) -> Store:
    """A run that left two outputs and showed two previews, one of them with an output's bytes."""
    for digest in (OUTPUT, PREVIEW, BOTH):
        store.write(blobs.add, digest, "s" * 64, 1, 1)
    store.new_run("r")
    run = store.assign("r")
    outputs = [left(OUTPUT, "a.png", "out-a"), left(BOTH, "sub/b.png", "out-b")]
    previews = [left(PREVIEW, "p.png", "pre-p"), left(BOTH, "q.png", "pre-q")]
    store.write(
        transitions.ended,
        run,
        EndReason.COMPLETED,
        1000,
        result=AttemptResult(outputs, previews, node_results='{"outputs": {}}'),
    )
    return store


def test_outputs_have_ids_and_are_not_listed_as_uploads(done: Store) -> None:
    alice = done.alice.id

    assert done.read(files.by_id, alice, "out-b").path == "/output/r/sub/b.png"
    assert done.read(files.newest_result, alice, "output", "sub/b.png").id == "out-b"
    assert done.read(files.find, alice) == []
    with pytest.raises(NotFound):
        done.read(files.by_id, alice, "pre-p")


def test_previews_expire_and_outputs_stay(done: Store) -> None:
    assert done.read(blobs.orphans, now_ms()) == []
    assert done.write(runs.drop_previews, 1000) == 0  # not old enough

    assert done.write(runs.drop_previews, 1001) == 1

    run = done.read(runs.get, done.alice.id, "r")
    assert run.previews == []
    assert len(run.outputs) == 2
    assert done.read(blobs.orphans, now_ms()) == [PREVIEW]
    assert done.write(runs.drop_previews, 1001) == 0


def test_purging_a_run_removes_its_outputs(done: Store) -> None:
    done.write(runs.remove, done.alice.id, "r", 1)

    assert done.write(runs.purge, deleted_before=2, finished_before=None) == 1

    assert sorted(done.read(blobs.orphans, now_ms())) == [OUTPUT, PREVIEW, BOTH]
    with pytest.raises(NotFound):
        done.read(files.by_id, done.alice.id, "out-a")


def test_outdated_runs_are_purged_oldest_first(store: Store) -> None:
    for number in range(3):
        store.new_run(f"r{number}")
        run = store.assign(f"r{number}", f"lease-{number}")
        store.write(transitions.ended, run, EndReason.COMPLETED, 1000 - number)
    store.new_run("waiting")

    assert store.write(runs.purge, deleted_before=0, finished_before=1001, limit=2) == 2
    assert store.read(runs.get_any, "r0") is not None
    assert store.write(runs.purge, deleted_before=0, finished_before=1001) == 1
    assert store.read(runs.get_any, "waiting") is not None
