"""A file that an admin shares is found by name for every account, keeps its bytes, and counts toward no storage."""

from __future__ import annotations

from comfyward.store import accounts, blobs, deleted_models, files, shared_files, storage
from comfyward.store.db import now_ms
from comfyward.store.deleted_models import DeletedModel
from comfyward.store.shared_files import SharedFile
from tests.store.conftest import Store

PATH, DIGEST = "/models/loras/house.safetensors", "d" * 64


def shared(store: Store, digest: str = DIGEST) -> None:
    store.write(blobs.add, digest, "s" * 64, 9, 1)
    store.write(shared_files.share, SharedFile(PATH, digest, 9, "application/x-safetensors", store.alice.id, 1))


def test_each_account_may_name_it_until_it_is_withdrawn(store: Store) -> None:
    shared(store)
    for account in (store.alice, store.bob):
        assert PATH in store.read(files.usable_paths, account.id)
    assert [each.digest for each in store.read(shared_files.named, [PATH], [])] == [DIGEST]
    assert [each.path for each in store.read(shared_files.named, [], ["/models/loras"])] == [PATH]
    assert store.read(shared_files.named, ["/models/loras/House.safetensors"], ["/models/lora"]) == []
    assert store.read(files.find, store.bob.id) == []
    assert store.write(shared_files.withdraw, PATH)
    assert PATH not in store.read(files.usable_paths, store.bob.id)


def test_its_bytes_are_kept_and_are_nobodys_storage(store: Store) -> None:
    shared(store)
    assert store.read(blobs.orphans, now_ms()) == []
    store.new_run("r", store.bob, files={PATH: {"blob": DIGEST, "size": 9}})
    assert store.read(storage.of_runs, store.bob.id) == 0
    assert store.read(blobs.size_for, store.bob.id, DIGEST) == 9
    store.write(accounts.erase, store.alice.id)
    assert [each.path for each in store.read(shared_files.find)] == [PATH]


def test_what_was_deleted_is_kept_for_a_day(store: Store) -> None:
    store.write(blobs.add, DIGEST, "s" * 64, 9, 1)
    gone = DeletedModel("id", store.alice.id, PATH, DIGEST, 9, "t", True, False, 1000, {"a": 1}, None)
    store.write(deleted_models.add, gone)
    assert store.read(blobs.orphans, now_ms()) == []
    assert store.write(deleted_models.prune, 1000) == 0
    assert store.write(deleted_models.take, store.alice.id, "id") == gone
    assert store.read(blobs.orphans, now_ms()) == [DIGEST]
