"""What an account stores counts toward its limits, however it came; bytes that have several names count once."""

import dataclasses
from typing import Any

import pytest

from comfyward.accounts.storage import Quota, Stored
from comfyward.dispatch import transitions
from comfyward.dispatch.transitions import AttemptResult
from comfyward.errors import OverQuota
from comfyward.runs.output import Output
from comfyward.runs.run import EndReason
from comfyward.store import accounts, blobs, files, leases, runs, storage, uploads
from comfyward.store.uploads import Upload
from tests.store.conftest import Store

NOW = 1_000_000
FREE = Quota()


def _stored(store: Store) -> Stored:
    assert store.read(storage.stored, store.bob.id) == Stored(), "another account's"
    found: Stored = store.read(storage.stored, store.alice.id)
    return found


def _blob(store: Store, digest: str, size: int) -> None:
    store.write(blobs.add, digest, digest, size, NOW)


def _file(store: Store, path: str, digest: str, size: int, most: int = 0) -> Any:
    _blob(store, digest, size)
    return store.write(files.put, files.new_file(store.alice.id, path, digest, size, "image/png", NOW), most)


def _ended(store: Store, run_id: str, **outputs: int) -> None:
    for digest, size in outputs.items():
        _blob(store, digest, size)
    made = [Output(digest, f"{digest}.png", digest, size, "image/png", None) for digest, size in outputs.items()]
    result = AttemptResult(outputs=made[:1], previews=made[1:])
    store.assign(run_id, lease=f"lease {run_id}")
    store.write(lambda conn: leases.starting(f"lease {run_id}", 1, NOW).ask(conn))
    run = store.read(runs.get, store.alice.id, run_id)
    store.write(transitions.ended, run, EndReason.COMPLETED, NOW, result=result)


def test_files_and_models_are_counted_apart_and_once(store: Store) -> None:
    _file(store, "/input/a.png", "a", 3)
    _file(store, "/input/again.png", "a", 3)
    _file(store, "/userdata/workflows/x.json", "x", 4)
    _file(store, "/models/loras/l.safetensors", "l", 50)

    assert _stored(store) == Stored(inputs=7, models=50)


def test_all_that_runs_keep_is_counted_until_they_are_deleted(store: Store) -> None:
    _file(store, "/input/mine.png", "mine", 100)
    _blob(store, "inline", 20)
    sources = {"/input/mine.png": {"blob": "mine", "size": 100}, "/input/i.png": {"blob": "inline", "size": 20}}
    store.new_run("r", files=sources)
    _ended(store, "r", output=7, preview=1)
    store.new_run("again", files=sources)
    _ended(store, "again", output2=2, preview=1)
    assert _stored(store) == Stored(inputs=100, outputs=20 + 7 + 1 + 2)

    store.write(files.remove, store.alice.id, "/input/mine.png")
    assert _stored(store) == Stored(outputs=130), "the runs keep its bytes"

    store.write(runs.remove, store.alice.id, "r", NOW)
    store.write(runs.remove, store.alice.id, "again", NOW)
    assert _stored(store) == Stored()


def test_a_file_over_the_limit_changes_nothing(store: Store) -> None:
    _file(store, "/input/a.png", "a", 60, most=100)

    with pytest.raises(OverQuota, match=r"^Your inputs use 60 B of 100 B; this needs 41 B more\.$"):
        _file(store, "/input/b.png", "b", 41, most=100)
    _file(store, "/input/same.png", "a", 60, most=100)
    _file(store, "/models/loras/l", "l", 90, most=100)
    _file(store, "/input/a.png", "c", 40, most=100)

    assert {file.path for file in store.read(files.find, store.alice.id)} == {
        "/input/a.png",
        "/input/same.png",
        "/models/loras/l",
    }


def test_unfinished_uploads_are_bounded_in_number_and_announced_size(store: Store) -> None:
    def begin(number: int, size: int, quota: Quota, path: str = "/input/a") -> None:
        store.write(uploads.add, Upload(f"u{number}", store.alice.id, path, size, NOW), quota)

    begin(0, 60, FREE)
    begin(1, 30, Quota(unfinished=100, uploads=2))
    assert _stored(store) == Stored(unfinished=90, uploads=2)

    for size, quota in ((1, Quota(uploads=2)), (11, Quota(unfinished=100)), (5, Quota(inputs=4))):
        with pytest.raises(OverQuota):
            begin(2, size, quota)
    store.write(uploads.remove, "u0")
    begin(3, 70, Quota(unfinished=100, uploads=2))


def test_an_accounts_own_limits_come_before_the_servers(store: Store) -> None:
    store.write(storage.set_limits, store.alice.id, {"outputs": 0, "models": 7})
    account = store.read(accounts.by_id, store.alice.id)
    own, default = storage.own_limits(account.storage_limits), Quota(1, 2, 3, 4, 5)

    assert default.of("member", own) == Quota(1, 7, 0, 4, 5)
    assert default.of("member", {}) == default
    assert default.of("admin", {}) == Quota(unfinished=4, uploads=5)
    assert default.of("admin", own) == dataclasses.replace(default.of("admin", {}), models=7)
