"""Bytes and the rows that know of them, kept in step: nobody is told of a blob before both are there."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from comfyward.files.objects import Blob, Objects
from comfyward.runs.files import content_type_of
from comfyward.store import files
from comfyward.store.db import Database, now_ms

CHUNK_BYTES = 1 << 20


class Blobs:
    """Puts and sweeps blobs; for one digest at a time one of them."""

    def __init__(self, db: Database, objects: Objects) -> None:
        self._db, self._objects = db, objects
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    async def put_stream(self, chunks: AsyncIterator[bytes], *, limit: int, digest: str | None = None) -> Blob:
        """Raises TooLarge, StorageFull, and DigestMismatch when the bytes do not have the digest."""
        async with (
            self._objects.receive(chunks, limit=limit, digest=digest) as received,
            self._lock(received.blob.digest),
        ):
            await asyncio.gather(received.keep(), self._know(received.blob))
            return received.blob

    async def keep_file(self, source: Path, account_id: str, path: str) -> None:
        """A file on this machine's disk becomes a file of an account."""
        blob = await self.put_stream(_pieces_of(source), limit=source.stat().st_size)
        file = files.new_file(account_id, path, blob.digest, blob.size, content_type_of(path), now_ms())
        await self._db.write(files.put, file)

    async def put_bytes(self, data: bytes) -> Blob:
        async def once() -> AsyncIterator[bytes]:
            yield data

        return await self.put_stream(once(), limit=len(data))

    @contextlib.asynccontextmanager
    async def storing(self, data_by_digest: Mapping[str, bytes]) -> AsyncIterator[list[Blob]]:
        """Stores small blobs; whoever asked writes their rows inside the block. Raises DigestMismatch."""
        async with contextlib.AsyncExitStack() as held:
            stored = []
            for digest, data in sorted(data_by_digest.items()):
                await held.enter_async_context(self._lock(digest))
                stored.append(await self._objects.put_bytes(data, digest))
            yield stored

    async def sweep(self, before: int) -> int:
        """Removes the blobs that nothing needs. Returns how many."""
        removed = 0
        for digest in await self._db.read(files.orphans, before):
            async with self._lock(digest):
                if await self._db.write(files.forget_orphan, digest, before):
                    await self._objects.remove_blob(digest)
                    removed += 1
        return removed

    async def _know(self, blob: Blob) -> None:
        await self._db.write(files.add_blob, blob.digest, blob.sha256, blob.size, now_ms())

    def _lock(self, digest: str) -> asyncio.Lock:
        return self._locks.setdefault(digest, asyncio.Lock())


async def _pieces_of(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield piece
