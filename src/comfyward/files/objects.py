"""The object store: blobs by digest, in a directory or in S3 (obstore gives both one interface)."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import obstore
from obstore.store import LocalStore, from_url

from comfyward.errors import InvalidRequest, NotFound, StorageFull, TooLarge
from comfyward.files.digest import Hasher

IN_MEMORY_BYTES = 4 << 20
STREAM_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Blob:
    digest: str
    sha256: str
    size: int


class Objects:
    """Blobs at `blobs/<digest>`, and derived data (thumbnails) beside them."""

    def __init__(self, url: str) -> None:
        if "://" in url:
            self._store: Any = from_url(url)
        else:
            Path(url).mkdir(parents=True, exist_ok=True)
            self._store = LocalStore(url)

    async def put_stream(self, chunks: AsyncIterator[bytes], *, limit: int, digest: str | None = None) -> Blob:
        """Stores a stream under its digest. Raises TooLarge, and InvalidRequest when it is not the digest promised."""
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
            if digest is not None and digest not in (hasher.blake3, hasher.sha256):
                raise InvalidRequest("The bytes do not have the digest that was announced.", digest=hasher.blake3)
            spool.seek(0)
            await self._put(blob_key(hasher.blake3), spool.read() if size <= IN_MEMORY_BYTES else spool)
        return Blob(hasher.blake3, hasher.sha256, size)

    async def put_bytes(self, data: bytes) -> Blob:
        """Stores some bytes under their digest."""
        hasher = Hasher()
        hasher.update(data)
        await self._put(blob_key(hasher.blake3), data)
        return Blob(hasher.blake3, hasher.sha256, len(data))

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

    async def remove(self, key: str) -> None:
        try:
            await obstore.delete_async(self._store, key)
        except FileNotFoundError:
            return

    async def _put(self, key: str, data: bytes | IO[bytes]) -> None:
        try:
            if not await self.has(key):
                await obstore.put_async(self._store, key, data)
        except OSError as error:
            raise StorageFull(f"The object store refused a file: {error}.") from error


def blob_key(digest: str) -> str:
    return f"blobs/{digest[:2]}/{digest}"


def thumbnail_key(digest: str) -> str:
    return f"thumbnails/{digest[:2]}/{digest}.webp"


def _take(spool: IO[bytes], hasher: Hasher, chunk: bytes) -> None:
    spool.write(chunk)
    hasher.update(chunk)


async def _pieces(answer: Any) -> AsyncIterator[bytes]:
    async for piece in answer.stream(min_chunk_size=STREAM_CHUNK_BYTES):
        yield bytes(piece)
