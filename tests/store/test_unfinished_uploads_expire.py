"""An upload that nobody finishes is deleted a day after it began, with its bytes, and its room is free again."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from comfyward.accounts.storage import Quota, Stored
from comfyward.dispatch.arrivals import Arrivals
from comfyward.dispatch.blobs import Blobs
from comfyward.dispatch.maintenance import DAY_MS, HOUR_MS, Retention
from comfyward.dispatch.publisher import Publisher
from comfyward.dispatch.quotas import Quotas
from comfyward.dispatch.uploads import Uploads
from comfyward.errors import NotFound, OverQuota
from comfyward.files.objects import Objects
from comfyward.ids import new_id
from comfyward.store import accounts, storage, uploads
from comfyward.store.db import now_ms
from comfyward.store.uploads import Upload
from tests.store.conftest import Store

SIZE = 600


async def test_unfinished_uploads_expire_and_give_their_room_back(store: Store, tmp_path: Path) -> None:
    objects, quotas = Objects(str(tmp_path / "objects")), Quotas(store.db, Quota(inputs=1000, unfinished=1000))
    blobs = Blobs(store.db, objects, quotas)
    receiving = Uploads(store.db, blobs, objects, quotas, 1 << 20)
    begun = [(store.alice.id, DAY_MS + 1), (store.bob.id, DAY_MS - HOUR_MS)]
    old, recent = [Upload(new_id(), owner, "/input/a", SIZE, now_ms() - age) for owner, age in begun]
    for upload in (old, recent):
        await store.db.write(uploads.add, upload, Quota())
        await receiving.append(upload, 0, _half())
    assert len(_files(tmp_path)) == 2
    with pytest.raises(OverQuota):
        await receiving.begin(store.alice.id, "/input/b", SIZE)

    done = await Retention(store.db, Publisher(), blobs, Arrivals(objects, blobs), receiving, 0).tick()

    assert done["uploads"] == 1
    assert [recent.id in path for path in _files(tmp_path)] == [True]
    with pytest.raises(NotFound):
        await receiving.resume(store.alice.id, old.id)
    assert (await receiving.resume(store.bob.id, recent.id)).offset == SIZE // 2
    assert await store.db.read(storage.stored, store.alice.id) == Stored()
    again = await receiving.begin(store.alice.id, "/input/b", SIZE)
    assert again.size == SIZE


async def test_pieces_that_no_upload_has_are_removed(store: Store, tmp_path: Path) -> None:
    objects, quotas = Objects(str(tmp_path / "objects")), Quotas(store.db, Quota())
    blobs = Blobs(store.db, objects, quotas)
    receiving = Uploads(store.db, blobs, objects, quotas, 1 << 20)
    retention = Retention(store.db, Publisher(), blobs, Arrivals(objects, blobs), receiving, 0)
    of_erased = await receiving.begin(store.bob.id, "/input/a", SIZE)
    dropped = await receiving.begin(store.alice.id, "/input/a", SIZE)
    for upload in (of_erased, dropped):
        await receiving.append(upload, 0, _half())
    await receiving.drop(dropped)  # as it was when this was asked for, before the piece came
    await store.db.write(accounts.erase, store.bob.id)

    assert len(_files(tmp_path)) == 2
    assert (await retention.tick())["pieces"] == 0
    for path in _files(tmp_path):
        os.utime(path, (0, (now_ms() - DAY_MS - 2 * HOUR_MS) / 1000))

    assert (await retention.tick())["pieces"] == 2
    assert _files(tmp_path) == []


async def _half() -> AsyncIterator[bytes]:
    yield bytes(SIZE // 2)


def _files(folder: Path) -> list[str]:
    return [str(path) for path in (folder / "objects").rglob("*") if path.is_file()]
