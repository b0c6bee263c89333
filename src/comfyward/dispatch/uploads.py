"""Uploads in pieces: what has come stays on disk, so that a broken one goes on from there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from comfyward.dispatch.blobs import Blobs, pieces_of_file
from comfyward.errors import Conflict, StorageFull, TooLarge
from comfyward.ids import new_id
from comfyward.runs.files import content_type_of
from comfyward.store import files, uploads
from comfyward.store.db import Database, now_ms
from comfyward.store.files import StoredFile
from comfyward.store.uploads import Upload


class Uploads:
    """Takes files in pieces and stores them once they are whole."""

    def __init__(self, db: Database, blobs: Blobs, folder: Path, limit_bytes: int) -> None:
        self._db, self._blobs, self._folder, self._limit_bytes = db, blobs, folder, limit_bytes
        self._writing: set[str] = set()
        folder.mkdir(parents=True, exist_ok=True)

    async def begin(self, account_id: str, path: str, size: int) -> Upload:
        """Raises TooLarge."""
        if size > self._limit_bytes:
            raise TooLarge(f"The file is larger than {self._limit_bytes} bytes.", limit=self._limit_bytes)
        upload = Upload(new_id(), account_id, path, size, now_ms())
        self._part(upload.id).touch()
        await self._db.write(uploads.add, upload)
        return upload

    async def get(self, account_id: str, upload_id: str) -> tuple[Upload, int]:
        """An upload and how many of its bytes are here. Raises NotFound."""
        upload = await self._db.look(uploads.get, account_id, upload_id)
        part = self._part(upload.id)
        return upload, part.stat().st_size if part.exists() else 0

    async def append(self, upload: Upload, offset: int, chunks: AsyncIterator[bytes]) -> int:
        """Adds bytes at an offset, which must be where the last ones ended; returns where the new ones end.

        What came of a piece that breaks off is kept. Raises Conflict for another offset, or while another piece of
        the same upload comes in; TooLarge when there is more than was announced.
        """
        part = self._part(upload.id)
        if upload.id in self._writing or not part.exists() or offset != part.stat().st_size:
            raise Conflict("The offset is not where this upload stands.", hint="Ask for it with HEAD.")
        self._writing.add(upload.id)
        try:
            with part.open("ab") as file:
                async for chunk in chunks:
                    offset += len(chunk)
                    if offset > upload.size:
                        raise TooLarge("There are more bytes than were announced.", limit=upload.size)
                    await asyncio.to_thread(file.write, chunk)
        except OSError as error:
            raise StorageFull(f"The upload could not be written: {error.strerror}.") from error
        finally:
            self._writing.discard(upload.id)
        return offset

    async def finish(self, upload: Upload) -> StoredFile:
        """The file of an upload that is whole."""
        part = self._part(upload.id)
        blob = await self._blobs.put_stream(pieces_of_file(part), limit=upload.size)
        content_type = content_type_of(upload.path)
        file = files.new_file(upload.account_id, upload.path, blob.digest, blob.size, content_type, now_ms())
        stored = await self._db.write(files.put, file)
        await self.drop(upload.id)
        return stored

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
