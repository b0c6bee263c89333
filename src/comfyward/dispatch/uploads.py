"""Uploads in pieces: what has come stays on disk, so that a broken one goes on from there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from comfyward.dispatch.blobs import Blobs
from comfyward.errors import Conflict, StorageFull, TooLarge
from comfyward.ids import new_id
from comfyward.store import uploads
from comfyward.store.db import Database, now_ms
from comfyward.store.uploads import Upload


class Uploads:
    """Takes files in pieces and stores them once they are whole."""

    def __init__(self, db: Database, blobs: Blobs, folder: Path, limit_bytes: int) -> None:
        self._db, self._blobs, self._folder, self._limit_bytes = db, blobs, folder, limit_bytes
        self._busy: set[str] = set()
        folder.mkdir(parents=True, exist_ok=True)

    async def begin(self, account_id: str, path: str, size: int) -> Upload:
        """Raises TooLarge."""
        if size > self._limit_bytes:
            raise TooLarge(f"The file is larger than {self._limit_bytes} bytes.", limit=self._limit_bytes)
        upload = Upload(new_id(), account_id, path, size, now_ms())
        self._part(upload.id).touch()
        await self._db.write(uploads.add, upload)
        return upload

    async def standing(self, account_id: str, upload_id: str) -> tuple[Upload, int]:
        """An upload and how many of its bytes are here. Raises NotFound.

        One that is whole and was not stored, since the server ended just then, is stored now.
        """
        upload = await self._db.look(uploads.get, account_id, upload_id)
        offset = self._size(upload)
        if offset == upload.size and upload.id not in self._busy:
            with self._alone(upload):
                await self._finish(upload)
        return upload, offset

    async def append(self, upload: Upload, offset: int, chunks: AsyncIterator[bytes]) -> int:
        """Adds bytes at an offset, which must be where the last ones ended; returns where the new ones end.

        What came of a piece that breaks off is kept; with the last piece the file is stored. Raises Conflict for
        another offset, or while another piece of the same upload comes in; TooLarge when there is more than announced.
        """
        if upload.id in self._busy or offset != self._size(upload):
            raise Conflict("The offset is not where this upload stands.", hint="Ask for it with HEAD.")
        with self._alone(upload):
            try:
                offset = await self._write(upload, offset, chunks)
            except OSError as error:
                raise StorageFull(f"The upload could not be written: {error.strerror}.") from error
            if offset == upload.size:
                await self._finish(upload)
        return offset

    async def _write(self, upload: Upload, offset: int, chunks: AsyncIterator[bytes]) -> int:
        with self._part(upload.id).open("ab") as file:
            async for chunk in chunks:
                offset += len(chunk)
                if offset > upload.size:
                    raise TooLarge("There are more bytes than were announced.", limit=upload.size)
                await asyncio.to_thread(file.write, chunk)
        return offset

    async def _finish(self, upload: Upload) -> None:
        await self._blobs.keep_file(self._part(upload.id), upload.account_id, upload.path)
        await self.drop(upload.id)

    @contextlib.contextmanager
    def _alone(self, upload: Upload) -> Iterator[None]:
        self._busy.add(upload.id)
        try:
            yield
        finally:
            self._busy.discard(upload.id)

    def _size(self, upload: Upload) -> int:
        part = self._part(upload.id)
        return part.stat().st_size if part.exists() else 0

    async def drop(self, upload_id: str) -> None:
        """Forgets an upload, whole or not."""
        await self._db.write(uploads.remove, upload_id)
        with contextlib.suppress(FileNotFoundError):
            self._part(upload_id).unlink()

    async def drop_outdated(self, before: int) -> int:
        """Forgets the uploads that were begun before a time and never came to an end. Returns how many."""
        outdated = await self._db.read(uploads.outdated, before)
        for upload_id in outdated:
            await self.drop(upload_id)
        return len(outdated)

    def _part(self, upload_id: str) -> Path:
        return self._folder / f"{upload_id}.part"
