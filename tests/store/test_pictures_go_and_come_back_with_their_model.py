"""A model is deleted with the pictures beside it, and restored with them; others keep theirs."""

from __future__ import annotations

import dataclasses

from sqlalchemy import Connection

from comfyward.accounts.account import Account
from comfyward.dispatch import model_removal
from comfyward.store import blobs, files, shared_files
from comfyward.store.db import now_ms
from comfyward.store.shared_files import SharedFile
from tests.store.conftest import Store

INK, PICTURE, OTHER = "/models/loras/ink.safetensors", "/models/loras/ink.preview.png", "/models/loras/inkwell.png"


def put(conn: Connection, account: Account, path: str, salt: str = "") -> None:
    digest = (path.rpartition("/")[2] + salt).ljust(64, "0")
    kind = "image/png" if path.endswith("png") else "application/octet-stream"
    blobs.add(conn, digest, digest, 10, now_ms())
    files.put(conn, files.new_file(account.id, path, digest, 10, kind, now_ms()))


def paths(conn: Connection, account: Account) -> list[str]:
    return [each.path for each in files.find(conn, account.id)]


def removed(store: Store, account: Account, path: str = INK) -> str:
    return store.write(model_removal.remove, account, path, 0, now_ms()).id


def test_both_come_back(store: Store) -> None:
    for path in (INK, PICTURE, OTHER):
        store.write(put, store.alice, path)

    deleted = removed(store, store.alice)
    assert store.read(paths, store.alice) == [OTHER]
    assert len(store.read(blobs.orphans, now_ms() + 1000)) == 0  # the bytes are kept as long as this can be undone

    assert store.write(model_removal.restore, store.alice, deleted, 0, now_ms()) == INK
    assert store.read(paths, store.alice) == sorted((INK, PICTURE, OTHER))


def test_a_newer_picture_stays(store: Store) -> None:
    for path in (INK, PICTURE):
        store.write(put, store.alice, path)
    deleted = removed(store, store.alice)
    store.write(put, store.alice, PICTURE, "newer")

    store.write(model_removal.restore, store.alice, deleted, 0, now_ms())

    assert store.read(paths, store.alice) == [PICTURE, INK]
    assert store.read(files.get, store.alice.id, PICTURE).digest.startswith("ink.preview.pngnewer")


def test_another_model_of_that_name_keeps_it(store: Store) -> None:
    twin = "/models/loras/ink.ckpt"
    for path in (INK, PICTURE, twin):
        store.write(put, store.alice, path)

    removed(store, store.alice)

    assert store.read(paths, store.alice) == [twin, PICTURE]


def test_a_shared_picture_goes_with_the_shared_model_alone(store: Store) -> None:
    admin = dataclasses.replace(store.alice, role="admin")

    def share(conn: Connection) -> None:
        for path in (INK, PICTURE):
            put(conn, admin, path, "shared")
            file = files.get(conn, admin.id, path)
            shared = (path, file.digest, file.size, file.content_type, admin.id, now_ms())
            shared_files.share(conn, SharedFile(*shared))
            files.remove(conn, admin.id, path)

    store.write(share)
    store.write(put, admin, INK)  # another one, which hides what is shared
    removed(store, admin)
    assert sorted(store.read(shared_files.paths)) == [PICTURE, INK]

    deleted = removed(store, admin)
    assert store.read(shared_files.paths) == []
    store.write(model_removal.restore, admin, deleted, 0, now_ms())
    assert sorted(store.read(shared_files.paths)) == [PICTURE, INK]
