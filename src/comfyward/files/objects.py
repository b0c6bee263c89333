"""The object store: blobs by digest, in a directory or in S3 (obstore gives both one interface)."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import obstore
from obstore.store import LocalStore, from_url

from comfyward.errors import DigestMismatch, NotFound, StorageFull, TooLarge
from comfyward.files.digest import Hasher, digests_of

IN_MEMORY_BYTES = 4 << 20
STREAM_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Blob:
    digest: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Received:
    """A stream that was taken in, not stored yet."""

    blob: Blob
    keep: Callable[[], Awaitable[None]]


class Objects:
    """Blobs at `blobs/<digest>`, and derived data (thumbnails) beside them."""

    def __init__(self, url: str) -> None:
        if "://" in url:
            self._store: Any = from_url(url)
        else:
            Path(url).mkdir(parents=True, exist_ok=True)
            self._store = LocalStore(url)

    @contextlib.asynccontextmanager
    async def receive(
        self, chunks: AsyncIterator[bytes], *, limit: int, digest: str | None = None
    ) -> AsyncIterator[Received]:
        """Takes a stream in and hashes it; `keep` of what is given then stores it under its digest.

        Raises TooLarge, StorageFull, and DigestMismatch when the bytes do not have the promised digest.
        """
        hasher, size = Hasher(), 0
        with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES) as spool:
            async for chunk in chunks:
                size += len(chunk)
                if size > limit:
                    raise TooLarge(f"The file is larger than {limit} bytes.", limit=limit)
                if size > IN_MEMORY_BYTES:
                    await asyncio.to_thread(_take, spool, hasher, chunk)
                else:
                    _take(spool, hasher, chunk)
            blob = Blob(hasher.blake3, hasher.sha256, size)
            if digest is not None and digest not in (blob.digest, blob.sha256):
                raise DigestMismatch("The bytes do not have the digest that was announced.", digest=blob.digest)
            spool.seek(0)
            data = spool.read() if size <= IN_MEMORY_BYTES else spool
            yield Received(blob, lambda: self._put(blob_key(blob.digest), data))

    async def put_bytes(self, data: bytes, digest: str) -> Blob:
        """Stores some bytes. Raises DigestMismatch when they do not have the digest."""
        blake3_digest, sha256 = digests_of(data)
        if blake3_digest != digest:
            raise DigestMismatch("The bytes do not have the digest that was announced.", digest=blake3_digest)
        await self._put(blob_key(digest), data)
        return Blob(digest, sha256, len(data))

    async def has(self, key: str) -> bool:
        try:
            await obstore.head_async(self._store, key)
        except FileNotFoundError:
            return False
        return True

    async def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes [start, end) of an object, in pieces. Raises NotFound before the first piece."""
        wanted: Any = (start, end) if end is not None else {"offset": start}
        try:
            answer = await obstore.get_async(self._store, key, options={"range": wanted} if start or end else {})
        except FileNotFoundError as error:
            raise NotFound(
                "The stored file is gone.", hint="It may have been removed by the retention setting."
            ) from error
        return _pieces(answer)

    async def read_all(self, key: str) -> bytes:
        return b"".join([piece async for piece in await self.read(key)])

    async def put_derived(self, key: str, data: bytes) -> None:
        await self._put(key, data)

    async def remove_blob(self, digest: str) -> None:
        """Removes a blob and all that was derived from it."""
        views = view_key(digest, "").rstrip("/")
        derived = [item["path"] async for page in obstore.list(self._store, prefix=views) for item in page]
        for key in (blob_key(digest), thumbnail_key(digest), *derived):
            await self.remove(key)

    async def remove(self, key: str) -> None:
        try:
            await obstore.delete_async(self._store, key)
        except FileNotFoundError:
            return

    async def _put(self, key: str, data: bytes | IO[bytes]) -> None:
        try:
            # Small objects are written over: asking first costs as much.
            if isinstance(data, bytes) or not await self.has(key):
                await obstore.put_async(self._store, key, data)
        except OSError as error:
            raise StorageFull(f"The object store refused a file: {error}.") from error


def blob_key(digest: str) -> str:
    return f"blobs/{digest[:2]}/{digest}"


def thumbnail_key(digest: str) -> str:
    return f"thumbnails/{digest[:2]}/{digest}.webp"


def view_key(digest: str, form: str) -> str:
    """A blob's picture in another form; all of them lie below one folder."""
    return f"views/{digest[:2]}/{digest}/{form}"


def _take(spool: IO[bytes], hasher: Hasher, chunk: bytes) -> None:
    try:
        spool.write(chunk)
    except OSError as error:
        raise StorageFull(f"No space left on the server to receive a file: {error.strerror}.") from error
    hasher.update(chunk)


async def _pieces(answer: Any) -> AsyncIterator[bytes]:
    async for piece in answer.stream(min_chunk_size=STREAM_CHUNK_BYTES):
        yield bytes(piece)
