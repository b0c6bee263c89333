"""Bytes that workers put into the object store themselves: hashed before they become blobs.

Whoever has a signed URL can put other bytes to its key for as long as it is valid. So nobody reads such a key but us,
once: what is there is copied to a key that no URL was signed for, hashed there, and copied to where blobs are.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from comfyward.dispatch.blobs import Blobs
from comfyward.errors import DigestMismatch, InvalidRequest, NotFound
from comfyward.files.digest import Hasher
from comfyward.files.objects import ARRIVING, Blob, Objects, blob_key, held_key, sent_key


class Arrivals:
    """A sender is whoever got a URL and says that the bytes are there: each has keys of its own."""

    def __init__(self, objects: Objects, blobs: Blobs) -> None:
        self._objects, self._blobs = objects, blobs

    async def url(self, sender: str, blob: Blob) -> str | None:
        """A URL for the bytes of a blob, valid for an hour; None if they must pass through the server."""
        return await self._objects.put_url(sent_key(sender, blob.digest), blob.size)

    async def register(self, sender: str, blob: Blob) -> None:
        """Makes a blob of what a sender has put into the store, unless it is one already.

        Raises InvalidRequest if nothing is there, DigestMismatch, without leaving it there, if it is something else.
        """
        if await self._blobs.touch(blob.digest):
            return
        sent, held = sent_key(sender, blob.digest), held_key()
        try:
            await self._objects.copy(sent, held)
            await self._take(held, blob)
        except NotFound as error:
            raise InvalidRequest(f"The output '{blob.name}' was announced but is not stored.") from error
        except DigestMismatch:
            await self._objects.remove(sent)
            raise
        finally:
            await self._objects.remove(held)
        await self._objects.remove(sent)

    async def sweep(self, before: int) -> int:
        """Removes what came before a time and never became a blob. Returns how much."""
        return await self._objects.remove_older(ARRIVING, before)

    async def _take(self, held: str, blob: Blob) -> None:
        """Makes a blob of a held object. Raises NotFound, DigestMismatch, also for another size than was announced."""
        hasher, size = Hasher(), 0
        async for chunk in await self._objects.read(held):
            size += len(chunk)
            if size > blob.size:
                break
            await asyncio.to_thread(hasher.update, chunk)
        if size != blob.size or hasher.blake3 != blob.digest:
            raise DigestMismatch("The bytes that were stored do not have the expected digest.", digest=hasher.blake3)
        if await self._objects.is_sent_as(held, blob.name):
            await self._objects.copy(held, blob_key(blob.digest))
            await self._blobs.register(replace(blob, sha256=hasher.sha256))
        else:  # its sender chose headers of its own, which a copy would keep
            await self._blobs.put_stream(
                await self._objects.read(held), limit=blob.size, digest=blob.digest, name=blob.name
            )
