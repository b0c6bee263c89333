"""HEAD stores a whole upload that was not stored, beside the PATCH that is about to: both say that it is there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from comfyward.accounts.storage import Quota
from comfyward.dispatch.blobs import Blobs
from comfyward.dispatch.quotas import Quotas
from comfyward.dispatch.uploads import Uploads
from comfyward.errors import NotFound
from comfyward.files.objects import Objects
from comfyward.store import files
from tests.store.conftest import Store

DATA = b"the whole file"
PATH = "/input/a"


class Delayed(Blobs):
    """Does something else first, once, when a file is about to be stored."""

    other: Any = None

    async def keep_stream(self, *about: Any, **more: Any) -> None:
        if (other := self.other) is not None:
            self.other = None
            await other()
        await super().keep_stream(*about, **more)


@pytest.fixture
def blobs(store: Store, tmp_path: Path) -> Delayed:
    return Delayed(store.db, Objects(str(tmp_path)), Quotas(store.db, Quota()))


@pytest.fixture
def receiving(store: Store, blobs: Delayed, tmp_path: Path) -> Uploads:
    return Uploads(store.db, blobs, Objects(str(tmp_path)), Quotas(store.db, Quota()), 1 << 20)


async def test_the_second_finds_it_stored(store: Store, blobs: Delayed, receiving: Uploads) -> None:
    upload = await receiving.begin(store.alice.id, PATH, len(DATA))
    blobs.other = lambda: receiving.resume(store.alice.id, upload.id)

    assert await receiving.append(upload, 0, _data()) == len(DATA)

    assert [file.size for file in await store.db.read(files.find, store.alice.id)] == [len(DATA)]
    with pytest.raises(NotFound):
        await receiving.resume(store.alice.id, upload.id)


async def test_one_that_was_given_up_meanwhile_is_not_stored(
    store: Store, blobs: Delayed, receiving: Uploads, tmp_path: Path
) -> None:
    upload = await receiving.begin(store.alice.id, PATH, len(DATA))

    async def give_up() -> None:
        [piece] = [path for path in (tmp_path / "uploads").rglob("*") if path.is_file()]
        await receiving.drop(upload)
        piece.unlink()

    blobs.other = give_up

    with pytest.raises(NotFound):
        await receiving.append(upload, 0, _data())

    assert await store.db.read(files.find, store.alice.id) == []


async def _data() -> AsyncIterator[bytes]:
    yield DATA
