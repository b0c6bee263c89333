"""Bytes that are stored already are not stored again, unless a sweep removes them before the report is written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from sqlalchemy import Connection

from comfyward.accounts.storage import Quota
from comfyward.dispatch.blobs import Blobs
from comfyward.dispatch.quotas import Quotas
from comfyward.files.objects import Blob, Objects, blob_key
from comfyward.store import blobs, files, leases
from comfyward.store.db import now_ms
from comfyward.store.statement import Answer
from tests.store.conftest import Store

DATA = b"a picture"
FIRST = leases.asking("none")


class Interrupted(Objects):
    """Something else happens once, after it was looked which bytes are stored, and before any are written."""

    meanwhile: Callable[[], Awaitable[object]] | None = None

    async def put_bytes(self, data: bytes, digest: str, name: str, *, write: bool) -> Blob:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return await super().put_bytes(data, digest, name, write=write)


async def test_an_output_that_a_sweep_removes_meanwhile_is_stored_again(store: Store, tmp_path: Path) -> None:
    objects = Interrupted(str(tmp_path / "objects"))
    stored = Blobs(store.db, objects, Quotas(store.db, Quota()))
    blob = await stored.put_bytes(DATA, "a.png")
    file = files.new_file(store.alice.id, "/input/a.png", blob.digest, blob.size, "image/png", now_ms())
    removed: list[int] = []

    async def sweep() -> None:
        removed.append(await stored.sweep(before=now_ms() + 1))

    def use(conn: Connection, _answer: Answer) -> int | None:
        files.put(conn, file)
        return blobs.size_of(conn, blob.digest)

    objects.meanwhile = sweep
    size = await stored.write(FIRST, use, {blob.digest: ("a.png", DATA)})

    assert (removed, size) == ([1], len(DATA))
    assert await objects.read_all(blob_key(blob.digest)) == DATA
    assert await stored.sweep(before=now_ms() + 1) == 0


async def test_an_output_that_is_stored_already_counts_as_new(store: Store, tmp_path: Path) -> None:
    objects = Objects(str(tmp_path / "objects"))
    stored = Blobs(store.db, objects, Quotas(store.db, Quota()))
    blob = await stored.put_bytes(DATA, "a.png")
    await store.db.write(blobs.add, blob.digest, blob.sha256, blob.size, 1, "a.png")  # as if long ago

    await stored.write(FIRST, lambda conn, answer: None, {blob.digest: ("a.png", DATA)})

    assert await store.db.read(blobs.orphans, 1000) == []
