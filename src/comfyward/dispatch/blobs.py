"""Blobs and their rows, kept consistent: a blob is used only once both exist."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection

from comfyward.dispatch.quotas import Quotas, Room
from comfyward.files.objects import Blob, Objects
from comfyward.runs.files import content_type_of
from comfyward.store import blobs, files
from comfyward.store.db import Database, now_ms
from comfyward.store.statement import Answer, Question

CHUNK_BYTES = 1 << 20
REMOVAL_POLL_S = 0.05
NOTHING_SAID: Mapping[str, Any] = {}

R = TypeVar("R")


class _Swept(Exception):
    """A blob that was stored is being removed, or gone."""


class Blobs:
    """Stores and sweeps blobs.

    A sweep marks a blob's row first and deletes the row last; whoever stores the same bytes checks the row first. So no
    server removes a blob that another one is storing.
    """

    def __init__(self, db: Database, objects: Objects, quotas: Quotas) -> None:
        self._db, self._objects, self._quotas = db, objects, quotas

    async def room(self, account_id: str, path: str) -> Room:
        """The room for a file of an account. Raises OverQuota if there is none."""
        return await self._quotas.room(account_id, path)

    async def widest_room(self, account_id: str) -> Room:
        """The room for a file of an account whose path is not known yet."""
        return await self._quotas.widest_room(account_id)

    async def put_stream(
        self, chunks: AsyncIterator[bytes], *, limit: int, digest: str | None = None, name: str = ""
    ) -> Blob:
        """Stores a stream as a blob. Raises TooLarge, StorageFull, or DigestMismatch for another digest than given."""
        async with self._objects.receive(chunks, limit=limit, digest=digest, name=name) as received:
            if not await self.touch(received.blob.digest):
                await received.store()
                await self.register(received.blob)
            return received.blob

    async def keep_file(
        self, source: Path, account_id: str, path: str, about: Mapping[str, Any] = NOTHING_SAID
    ) -> None:
        """Stores a file of this machine's disk as a file of an account."""
        await self.keep_stream(pieces_of(source), source.stat().st_size, account_id, path, about)

    async def keep_stream(
        self,
        chunks: AsyncIterator[bytes],
        size: int,
        account_id: str,
        path: str,
        about: Mapping[str, Any] = NOTHING_SAID,
    ) -> None:
        """Stores `size` bytes as a file of an account. Raises OverQuota."""
        room = await self.room(account_id, path)
        room.check(size)
        blob = await self.put_stream(chunks, limit=size, name=path)
        file = files.new_file(account_id, path, blob.digest, blob.size, content_type_of(path), now_ms())
        await self._db.write(files.put, dataclasses.replace(file, about=about), room.most)

    async def put_bytes(self, data: bytes, name: str) -> Blob:
        async def once() -> AsyncIterator[bytes]:
            yield data

        return await self.put_stream(once(), limit=len(data), name=name)

    async def write(
        self, first: Question, operation: Callable[[Connection, Answer], R], named: Mapping[str, tuple[str, bytes]]
    ) -> R:
        """Runs a write that uses small blobs, given as {digest: (name, bytes)}, and registers them in its transaction.

        Raises DigestMismatch.
        """
        while True:
            known = {digest for digest in named if await self._is_stored(digest)}
            used = [
                await self._objects.put_bytes(data, digest, name, write=digest not in known)
                for digest, (name, data) in sorted(named.items())  # in one order everywhere: their rows are locked
            ]
            try:
                return await self._db.write_after(first, _with_blobs, operation, used, known)
            except _Swept:
                continue

    async def _is_stored(self, digest: str) -> bool:
        """True if a blob is stored; a sweep may still remove it. Waits for the end of a removal."""
        return await self._db.lookup(blobs.is_stored, digest) or await self.touch(digest)

    async def register(self, blob: Blob) -> None:
        """Writes the row of a blob whose bytes are stored under their digest."""
        await self._db.write(blobs.add, blob.digest, blob.sha256, blob.size, now_ms(), blob.name)

    async def touch(self, digest: str) -> bool:
        """True if a blob is stored; the next sweep then leaves it. Waits for the end of a removal."""
        while await self._db.lookup(blobs.is_known, digest):
            if await self._db.write(blobs.touch, digest, now_ms()):
                return await self._db.lookup(blobs.is_stored, digest)
            await asyncio.sleep(REMOVAL_POLL_S)
        return False

    async def sweep(self, before: int) -> int:
        """Removes blobs that nothing uses and that were stored before a time. Returns how many."""
        removed = 0
        for digest in await self._db.read(blobs.orphans, before):
            if await self._db.write(blobs.begin_removal, digest, before, now_ms()):
                await self._objects.remove_blob(digest)
                await self._db.write(blobs.finish_removal, digest)
                removed += 1
        return removed


def _with_blobs(
    conn: Connection,
    answer: Answer,
    operation: Callable[[Connection, Answer], R],
    used: Sequence[Blob],
    known: Collection[str],
) -> R:
    """Runs an operation after registering the blobs that it uses. Raises _Swept if one of those known is not there."""
    now = now_ms()
    for blob in used:
        if blob.digest not in known:
            blobs.add(conn, blob.digest, blob.sha256, blob.size, now, blob.name)
        elif not blobs.keep(conn, blob.digest, now):
            raise _Swept
    return operation(conn, answer)


async def pieces_of(path: Path) -> AsyncIterator[bytes]:
    """The bytes of a file of this machine's disk."""
    with path.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield piece
