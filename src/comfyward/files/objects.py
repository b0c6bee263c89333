"""The object store: blobs by digest, in a directory or in S3 (obstore gives both one interface)."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

import obstore
import obstore.exceptions
from obstore.store import LocalStore, from_url

from comfyward import wording
from comfyward.errors import DigestMismatch, NotFound, SetupFailed, StorageFull, TooLarge
from comfyward.files.digest import Hasher, digests_of
from comfyward.ids import hash_secret, new_id
from comfyward.runs.files import content_type_of, disposition_of

IN_MEMORY_BYTES = 4 << 20
CHECK_KEY = "comfyward"
URL_LASTS = timedelta(hours=1)
MAX_SINGLE_PUT_BYTES = 5 * 1000**3  # S3's limit for one PUT
RETRIES: Any = {"max_retries": 4, "retry_timeout": timedelta(seconds=30)}
STREAM_CHUNK_BYTES = 1 << 20
UPLOADS = "uploads"  # the prefix of pieces of unfinished uploads
ARRIVING = "arriving"  # the prefix of what workers put into the store and nobody has checked yet


@dataclass(frozen=True)
class Blob:
    """Stored bytes; `digest` is their blake3, `size` in bytes."""

    digest: str
    sha256: str
    size: int
    name: str = ""


class Objects:
    """Blobs at `blobs/<digest>`; beside them what is made of them (thumbnails), and what may become one."""

    def __init__(self, url: str, endpoint: str | None = None, *, direct: bool = True) -> None:
        """`direct` allows signed URLs of the store, valid for an hour. Raises SetupFailed for an unsupported URL."""
        self._url = url
        self._is_remote = "://" in url
        self._direct = direct and self._is_remote
        if self._is_remote:
            self._store: Any = _remote(url, endpoint)
        else:
            Path(url).mkdir(parents=True, exist_ok=True)
            self._store = LocalStore(url)

    async def check(self) -> None:
        """Raises SetupFailed if the store cannot be written to and read from."""
        try:
            await obstore.put_async(self._store, CHECK_KEY, b"comfyward")
            await obstore.head_async(self._store, CHECK_KEY)
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise SetupFailed(
                f"The object store at {self._url} cannot be used: {reason}.", hint=_hint(reason)
            ) from error

    async def get_url(self, key: str) -> str | None:
        """A URL from which anybody can download an object for an hour; None if the server must send it itself."""
        return str(await obstore.sign_async(self._store, "GET", key, URL_LASTS)) if self._direct else None

    async def put_url(self, key: str, size: int) -> str | None:
        """A URL to which anybody can upload an object for an hour; None if it must pass through the server."""
        if not self._direct or size > MAX_SINGLE_PUT_BYTES:
            return None
        return str(await obstore.sign_async(self._store, "PUT", key, URL_LASTS))

    @contextlib.asynccontextmanager
    async def receive(
        self, chunks: AsyncIterator[bytes], *, limit: int, digest: str | None = None, name: str = ""
    ) -> AsyncIterator[Received]:
        """Receives and hashes a stream; `Received.store` then stores it under its digest.

        Raises TooLarge, StorageFull, and DigestMismatch if the bytes do not have `digest` (blake3 or sha256).
        """
        hasher, size = Hasher(), 0
        with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES) as spool:
            async for chunk in chunks:
                size += len(chunk)
                if size > limit:
                    raise TooLarge(f"The file is larger than {wording.size(limit)}.", limit=limit)
                if size > IN_MEMORY_BYTES:
                    await asyncio.to_thread(_append, spool, hasher, chunk)
                else:
                    _append(spool, hasher, chunk)
            blob = Blob(hasher.blake3, hasher.sha256, size, name)
            if digest is not None and digest not in (blob.digest, blob.sha256):
                raise DigestMismatch("The bytes do not have the expected digest.", digest=blob.digest)
            spool.seek(0)
            yield Received(self, blob, spool.read() if size <= IN_MEMORY_BYTES else spool)

    async def put_bytes(self, data: bytes, digest: str, name: str, *, write: bool) -> Blob:
        """Stores some bytes, unless `write` is False because they are stored. Raises DigestMismatch."""
        blake3_digest, sha256 = digests_of(data)
        if blake3_digest != digest:
            raise DigestMismatch("The bytes do not have the expected digest.", digest=blake3_digest)
        if write:
            await self.put(blob_key(digest), data, name)
        return Blob(digest, sha256, len(data), name)

    async def has(self, key: str) -> bool:
        return await self.size_of(key) is not None

    async def size_of(self, key: str) -> int | None:
        """An object's size in bytes, None if there is no such object."""
        try:
            return int((await obstore.head_async(self._store, key))["size"])
        except FileNotFoundError:
            return None

    async def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes [start, end) of an object, in chunks. Raises NotFound before the first chunk."""
        wanted: Any = (start, end) if end is not None else {"offset": start}
        try:
            answer = await obstore.get_async(self._store, key, options={"range": wanted} if start or end else {})
        except FileNotFoundError as error:
            raise NotFound(
                "The stored file is gone.", hint="It may have been removed by the retention setting."
            ) from error
        return _chunks(answer)

    async def read_all(self, key: str) -> bytes:
        return b"".join([chunk async for chunk in await self.read(key)])

    async def is_sent_as(self, key: str, name: str) -> bool:
        """True if the store sends an object with the headers of a file of this name, and no others."""
        sent = (await obstore.get_async(self._store, key, options={"head": True})).attributes
        return {header: value for header, value in sent.items() if header != "Storage-Class"} == response_headers(name)

    async def copy(self, source: str, target: str) -> None:
        """Copies an object within the store, with its headers. Raises NotFound, StorageFull."""
        try:
            await obstore.copy_async(self._store, source, target)
        except FileNotFoundError as error:
            raise NotFound("There is no such object.") from error
        except (OSError, obstore.exceptions.BaseError) as error:
            raise StorageFull(f"The object store did not copy a file: {error}.") from error

    async def put_derived(self, key: str, data: bytes) -> None:
        await self.put(key, data)

    async def remove_blob(self, digest: str) -> None:
        """Removes a blob and everything derived from it."""
        views = view_key(digest, "").rstrip("/")
        derived = [item["path"] async for page in obstore.list(self._store, prefix=views) for item in page]
        for key in (blob_key(digest), thumbnail_key(digest), *derived):
            await self.remove(key)

    async def remove(self, key: str) -> None:
        try:
            await obstore.delete_async(self._store, key)
        except FileNotFoundError:
            return

    async def remove_older(self, prefix: str, before: int) -> int:
        """Removes the objects below a prefix that were stored before a time. Returns how many."""
        pages = obstore.list(self._store, prefix=prefix)
        found = [(item["path"], item["last_modified"]) async for page in pages for item in page]
        older = [key for key, stored_at in found if stored_at.timestamp() * 1000 < before]
        for key in older:
            await self.remove(key)
        return len(older)

    async def put(self, key: str, data: bytes | IO[bytes], name: str = "") -> None:
        """Stores an object, to be downloaded as a file of this name. Raises StorageFull."""
        # A directory stores no headers: the server makes them when it sends a file.
        attributes: Any = response_headers(name) if name and self._is_remote else None
        try:
            await obstore.put_async(self._store, key, data, attributes=attributes)
        except (OSError, obstore.exceptions.BaseError) as error:
            raise StorageFull(f"The object store refused a file: {error}.") from error


class Received:
    """A stream that was received and hashed, but is not stored yet."""

    def __init__(self, objects: Objects, blob: Blob, data: bytes | IO[bytes]) -> None:
        self._objects, self.blob, self._data = objects, blob, data

    async def store(self) -> None:
        """Stores the bytes under their digest. Raises StorageFull."""
        await self._objects.put(blob_key(self.blob.digest), self._data, self.blob.name)


def response_headers(name: str) -> dict[str, str]:
    """The headers with which an object of this file name is sent."""
    content_type = content_type_of(name)
    return {"Content-Type": content_type, "Content-Disposition": disposition_of(content_type, name)}


def _remote(url: str, endpoint: str | None) -> Any:
    options: Any = {"timeout": "10m", "connect_timeout": "5s", "allow_http": True}
    config: Any = {"endpoint": endpoint, "virtual_hosted_style_request": False} if endpoint else None
    try:
        return from_url(url, config=config, client_options=options, retry_config=RETRIES)
    except (obstore.exceptions.BaseError, ValueError) as error:
        raise SetupFailed(
            f"COMFYWARD_OBJECTS_URL does not name an object store: {' '.join(str(error).split())}.",
            hint="Write s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX, or a directory.",
        ) from error


def _hint(reason: str) -> str:
    """The advice for a reason, found by words alone: numbers in it may be a port or a duration."""
    lower = reason.lower()
    if "nosuchbucket" in lower or "not found" in lower:
        return "Create the bucket, or check its name (COMFYWARD_OBJECTS_URL)."
    if any(word in lower for word in ("accessdenied", "forbidden", "credential", "signature", "invalidaccesskey")):
        return "Check the credentials (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for S3) and their permissions."
    return "Check that it can be reached from here (COMFYWARD_OBJECTS_URL, COMFYWARD_OBJECTS_ENDPOINT)."


def blob_key(digest: str) -> str:
    return f"blobs/{digest[:2]}/{digest}"


def sent_key(sender: str, digest: str) -> str:
    """The key for bytes that a sender puts into the store itself. Nothing is ever served from it."""
    return f"{ARRIVING}/sent/{hash_secret(f'{sender} {digest}')}"


def held_key() -> str:
    """A new key for a copy of what was sent, for which no URL is signed."""
    return f"{ARRIVING}/held/{new_id()}"


def thumbnail_key(digest: str) -> str:
    return f"thumbnails/{digest[:2]}/{digest}.webp"


def view_key(digest: str, form: str) -> str:
    """The key of a blob's picture in another form; all forms share one prefix."""
    return f"views/{digest[:2]}/{digest}/{form}"


def upload_key(upload_id: str, offset: int) -> str:
    """A new key for a part of an upload, unique even among parts with the same offset."""
    return f"{UPLOADS}/{upload_id}/{offset:015d}-{new_id()}"


def _append(spool: IO[bytes], hasher: Hasher, chunk: bytes) -> None:
    try:
        spool.write(chunk)
    except OSError as error:
        raise StorageFull(f"No space left on the server to receive a file: {error.strerror}.") from error
    hasher.update(chunk)


async def _chunks(answer: Any) -> AsyncIterator[bytes]:
    async for chunk in answer.stream(min_chunk_size=STREAM_CHUNK_BYTES):
        yield bytes(chunk)
