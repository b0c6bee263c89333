"""Uploads in pieces: what has come is kept as objects, so that a broken one goes on from there, on any server."""

from __future__ import annotations

from collections.abc import AsyncIterator

from comfyward.dispatch.blobs import Blobs
from comfyward.errors import Conflict, TooLarge
from comfyward.files.objects import Objects, upload_key
from comfyward.ids import new_id
from comfyward.store import uploads
from comfyward.store.db import Database, now_ms
from comfyward.store.uploads import Upload

PIECE_BYTES = 16 << 20


class Uploads:
    """Takes files in pieces and stores them once they are whole."""

    def __init__(self, db: Database, blobs: Blobs, objects: Objects, limit_bytes: int) -> None:
        self._db, self._blobs, self._objects, self._limit_bytes = db, blobs, objects, limit_bytes

    async def begin(self, account_id: str, path: str, size: int) -> Upload:
        """Raises TooLarge."""
        if size > self._limit_bytes:
            raise TooLarge(f"The file is larger than {self._limit_bytes} bytes.", limit=self._limit_bytes)
        upload = Upload(new_id(), account_id, path, size, now_ms())
        await self._db.write(uploads.add, upload)
        return upload

    async def resume(self, account_id: str, upload_id: str) -> Upload:
        """An upload, with how many of its bytes are here. Raises NotFound.

        One that is whole and was not stored, since its server ended just then, is stored now.
        """
        upload = await self._db.lookup(uploads.get, account_id, upload_id)
        if upload.is_whole:
            await self._finish(upload)
        return upload

    async def append(self, upload: Upload, offset: int, chunks: AsyncIterator[bytes]) -> int:
        """Adds bytes at an offset, which must be where the last ones ended; returns where the new ones end.

        What came of a piece that breaks off is kept; with the last piece the file is stored. Raises Conflict for
        another offset, or when another piece of the same upload came first; TooLarge when there is more than announced.
        """
        if offset != upload.offset:
            raise _elsewhere()
        came = bytearray()
        try:
            async for chunk in chunks:
                if upload.offset + len(came) + len(chunk) > upload.size:
                    raise TooLarge("There are more bytes than were announced.", limit=upload.size)
                came += chunk
                if len(came) >= PIECE_BYTES:
                    upload = await self._keep(upload, bytes(came))
                    came.clear()
        finally:
            if came:
                upload = await self._keep(upload, bytes(came))
        if upload.is_whole:
            await self._finish(upload)
        return upload.offset

    async def drop(self, upload: Upload) -> None:
        """Forgets an upload, whole or not."""
        await self._db.write(uploads.remove, upload.id)
        for piece in upload.pieces:
            await self._objects.remove(piece)

    async def drop_outdated(self, before: int) -> int:
        """Forgets the uploads that were begun before a time and never came to an end. Returns how many."""
        outdated = await self._db.read(uploads.outdated, before)
        for upload in outdated:
            await self.drop(upload)
        return len(outdated)

    async def _keep(self, upload: Upload, data: bytes) -> Upload:
        piece = upload_key(upload.id, upload.offset)
        await self._objects.put_derived(piece, data)
        grown = await self._db.write(uploads.grow, upload, piece, len(data))
        if grown is None:
            await self._objects.remove(piece)
            raise _elsewhere()
        return grown

    async def _finish(self, upload: Upload) -> None:
        await self._blobs.keep_stream(self._bytes_of(upload), upload.size, upload.account_id, upload.path)
        await self.drop(upload)

    async def _bytes_of(self, upload: Upload) -> AsyncIterator[bytes]:
        for piece in upload.pieces:
            async for data in await self._objects.read(piece):
                yield data


def _elsewhere() -> Conflict:
    return Conflict("The offset is not where this upload stands.", hint="Ask for it with HEAD.")
