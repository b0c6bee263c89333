"""Answers with the bytes of stored files: whole or in ranges, cached by digest, from here or from the object store."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from comfyward.api.body import is_known, streamed
from comfyward.api.whole_numbers import LARGEST, whole_number
from comfyward.errors import NotFound, OutsideFile
from comfyward.files.objects import Objects, blob_key, thumbnail_key
from comfyward.files.pictures import MAX_SOURCE_BYTES, Decoders
from comfyward.runs.files import Source, Stored, content_type_of, disposition_of, source_from_row
from comfyward.sandbox.temporary import TemporaryFolder
from comfyward.store import blobs, files, run_parts
from comfyward.store.db import Database
from comfyward.store.runs import RunFilter

FOREVER = "private, max-age=31536000, immutable"
# A file of a run is somebody else's content on our origin: nothing in it may run.
SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'",
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
}
OCTET_STREAM = "application/octet-stream"
RECENT_RUNS = 50
_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.IGNORECASE | re.ASCII)
# What a Content-Type may be made of; more than that could end the header and begin another.
_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+( *;[\x20-\x7e]*)?", re.ASCII)


@dataclass(frozen=True)
class Content:
    """A stored file as an answer shows it."""

    digest: str
    size: int
    content_type: str
    name: str


class Contents:
    """Answers with stored bytes. With `direct` clients are sent to the object store where its answer is the same."""

    def __init__(self, db: Database, objects: Objects, decoders: Decoders, *, direct: bool) -> None:
        self._db, self._objects, self._decoders, self._direct = db, objects, decoders, direct

    async def serve(
        self, request: Request, content: Content, *, may_change: bool = False, disposition: str | None = None
    ) -> Response:
        """The content, or the range of it that the request asks for. Raises OutsideFile.

        With `may_change` the same URL may show another content later, so that clients ask again.
        """
        if disposition is None and (url := await self._direct_url(request, content)):
            return RedirectResponse(url, 307, {"Cache-Control": "no-store", "Access-Control-Allow-Origin": "*"})
        etag, caching = f'"{content.digest}"', "no-cache" if may_change else FOREVER
        if is_known(request, etag):
            return Response(status_code=304, headers={"ETag": etag, "Cache-Control": caching})
        content_type = content.content_type if _MEDIA_TYPE.fullmatch(content.content_type) else OCTET_STREAM
        headers = {
            "Accept-Ranges": "bytes",
            "ETag": etag,
            "Cache-Control": caching,
            "Content-Disposition": disposition or disposition_of(content_type, content.name),
            **SAFE,
        }
        return await self._part(request, content, content_type, headers, _range(request, content.size, etag))

    async def _part(
        self,
        request: Request,
        content: Content,
        content_type: str,
        headers: dict[str, str],
        part: tuple[int, int] | None,
    ) -> Response:
        """All of a content, or the part from one byte to before another."""
        start, end = part or (0, content.size)
        headers["Content-Length"] = str(end - start)
        if part:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{content.size}"
        is_read = end > start and request.method != "HEAD"
        pieces = await self._objects.read(blob_key(content.digest), start, end) if is_read else _nothing()
        return streamed(request, pieces, status_code=206 if part else 200, headers=headers, media_type=content_type)

    async def thumbnail(self, owner: str, digest: str) -> Response:
        """The thumbnail of an account's stored picture or video. Raises NotFound when none can be made."""
        data = await self._thumbnail(owner, digest)
        return Response(data, media_type="image/webp", headers={"Cache-Control": FOREVER, **SAFE})

    async def copy(self, digest: str, target: Path) -> None:
        """Writes stored bytes to a file, up to more than a decoder takes."""
        with target.open("wb") as file:
            async for piece in await self._objects.read(blob_key(digest)):
                file.write(piece)
                if file.tell() > MAX_SOURCE_BYTES:
                    return

    async def _direct_url(self, request: Request, content: Content) -> str | None:
        """The object store's own URL of a content, if the store would answer as we do.

        None for our own pages, whose policy lets them load nothing from elsewhere, and for HEAD: the URLs are for GET.
        """
        is_own_page = request.headers.get("sec-fetch-site") == "same-origin"
        if not self._direct or is_own_page or request.method == "HEAD":
            return None
        stored_as = await self._db.lookup(blobs.name_of, content.digest)
        if stored_as != content.name.rpartition("/")[2] or content.content_type != content_type_of(stored_as):
            return None
        return await self._objects.get_url(blob_key(content.digest))

    async def _thumbnail(self, owner: str, digest: str) -> bytes:
        key = thumbnail_key(digest)
        if await self._objects.has(key):
            return await self._objects.read_all(key)
        with TemporaryFolder() as folder:
            source, target = folder / "source", folder / "target.webp"
            await self.copy(digest, source)
            if not await self._decoders.thumbnail(owner, source, target):
                raise NotFound("No thumbnail can be made of this file.")
            data = target.read_bytes()
        await self._objects.put_derived(key, data)
        return data


async def find_input(db: Database, account_id: str, workflow_id: str, path: str) -> Source:
    """The source of a workflow's input: the account's own file, else that of the newest run that brought it.

    Raises NotFound.
    """
    try:
        file = await db.lookup(files.get, account_id, path)
        return Stored(file.digest, file.size)
    except NotFound:
        which = RunFilter(workflow_id=workflow_id, limit=RECENT_RUNS)
        row = await db.read(run_parts.newest_source, account_id, which, path)
    if row is not None:
        return source_from_row(row)
    raise NotFound(f"Workflow '{workflow_id}' has no file '{path}'.")


def _range(request: Request, size: int, etag: str) -> tuple[int, int] | None:
    """(start, end) of the requested range; None for the whole, also if the range is of another version (If-Range).

    Raises OutsideFile.
    """
    match = _RANGE.fullmatch(request.headers.get("range", ""))
    if match is None or size == 0 or request.headers.get("if-range", etag) != etag:
        return None
    return _part_of(size, *match.groups())


def _part_of(size: int, first: str, last: str) -> tuple[int, int] | None:
    """(start, end) of a range from `first` to `last`; without `first`, of the last `last` bytes. Raises OutsideFile."""
    if first:
        start, end = _number(first), min(_number(last) + 1, size) if last else size
    elif last:
        start, end = max(0, size - _number(last)), size
    else:
        return None
    if start >= size or start >= end:
        raise OutsideFile(f"The range lies outside the file of {size} bytes.", size=size)
    return start, end


def _number(digits: str) -> int:
    """A position in a file; one with too many digits lies behind every end."""
    number = whole_number(digits)
    return LARGEST if number is None else number


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""
