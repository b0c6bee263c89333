"""Resumable uploads: received pieces are stored as objects, so an upload can go on at any server."""

from __future__ import annotations

from collections.abc import AsyncIterator

from comfyward import wording
from comfyward.dispatch.blobs import Blobs
from comfyward.dispatch.quotas import Quotas
from comfyward.errors import Conflict, NotFound, TooLarge
from comfyward.files.objects import UPLOADS, Objects, upload_key
from comfyward.ids import new_id
from comfyward.store import files, uploads
from comfyward.store.db import Database, now_ms
from comfyward.store.uploads import Upload

PIECE_BYTES = 16 << 20


class Uploads:
    """Receives files in pieces and stores each once it is complete."""

    def __init__(self, db: Database, blobs: Blobs, objects: Objects, quotas: Quotas, limit_bytes: int) -> None:
        self._db, self._blobs, self._objects, self._quotas = db, blobs, objects, quotas
        self._limit_bytes = limit_bytes

    async def begin(self, account_id: str, path: str, size: int) -> Upload:
        """Starts an upload. Raises TooLarge, or OverQuota if the account has too many or no room for it."""
        if size > self._limit_bytes:
            raise TooLarge(f"The file is larger than {wording.size(self._limit_bytes)}.", limit=self._limit_bytes)
        upload = Upload(new_id(), account_id, path, size, now_ms())
        await self._db.write(uploads.add, upload, await self._quotas.of_id(account_id))
        return upload

    async def resume(self, account_id: str, upload_id: str) -> Upload:
        """An upload with its current offset. Raises NotFound.

        A complete one that was not stored, because its server stopped before it could, is stored now.
        """
        upload = await self._db.lookup(uploads.get, account_id, upload_id)
        if upload.is_whole:
            await self._finish(upload)
        return upload

    async def append(self, upload: Upload, offset: int, chunks: AsyncIterator[bytes]) -> int:
        """Appends bytes at an offset, which must be the upload's current one. Returns the new offset.

        The received part of an interrupted request is kept. The last piece stores the file. Raises Conflict for another
        offset, or if another request appended first, and TooLarge for more bytes than announced.
        """
        if offset != upload.offset:
            raise _wrong_offset()
        received = bytearray()
        try:
            async for chunk in chunks:
                if upload.offset + len(received) + len(chunk) > upload.size:
                    raise TooLarge("More bytes were sent than announced.", limit=upload.size)
                received += chunk
                if len(received) >= PIECE_BYTES:
                    upload = await self._append_piece(upload, bytes(received))
                    received.clear()
        finally:
            if received:
                upload = await self._append_piece(upload, bytes(received))
        if upload.is_whole:
            await self._finish(upload)
        return upload.offset

    async def drop(self, upload: Upload) -> None:
        """Deletes an upload and its pieces."""
        await self._db.write(uploads.remove, upload.id)
        for piece in upload.pieces:
            await self._objects.remove(piece)

    async def drop_outdated(self, before: int) -> int:
        """Deletes unfinished uploads started before a time. Returns how many."""
        outdated = await self._db.read(uploads.outdated, before)
        for upload in outdated:
            await self.drop(upload)
        return len(outdated)

    async def sweep(self, before: int) -> int:
        """Removes pieces that came before a time, from which on no upload has any. Returns how many.

        A piece outlives its upload whose account was erased, or that was dropped while the piece came.
        """
        return await self._objects.remove_older(UPLOADS, before)

    async def _append_piece(self, upload: Upload, data: bytes) -> Upload:
        piece = upload_key(upload.id, upload.offset)
        await self._objects.put_derived(piece, data)
        grown = await self._db.write(uploads.grow, upload, piece, len(data))
        if grown is None:
            await self._objects.remove(piece)
            raise _wrong_offset()
        return grown

    async def _finish(self, upload: Upload) -> None:
        """Stores the file. Raises NotFound if the upload was given up meanwhile."""
        try:
            await self._blobs.keep_stream(self._bytes_of(upload), upload.size, upload.account_id, upload.path)
        except NotFound:
            if not await self._is_stored(upload):
                raise
        await self.drop(upload)

    async def _is_stored(self, upload: Upload) -> bool:
        """True if another request has finished this upload meanwhile: it removed the pieces, but the file is there."""
        there = await self._db.read(files.at, upload.account_id, [upload.path])
        return any(file.size == upload.size and file.named_at >= upload.created_at for file in there)

    async def _bytes_of(self, upload: Upload) -> AsyncIterator[bytes]:
        for piece in upload.pieces:
            async for data in await self._objects.read(piece):
                yield data


def _wrong_offset() -> Conflict:
    return Conflict("The offset is not this upload's current offset.", hint="Get it with HEAD.")
