"""ComfyUI's routes for files: view, upload, masks, the metadata of models.

`input` is the account's own files, `output` and `temp` what its runs left and showed, with the run's id as subfolder.
"""

from __future__ import annotations

import contextlib
import json
import posixpath
import re
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from comfyward.api.body import answer, pieces_of, read_upload
from comfyward.api.contents import SAFE, Content, find_input
from comfyward.api.context import Context
from comfyward.api.leniency import is_true
from comfyward.api.native.scope import Scope, Scopes
from comfyward.api.whole_numbers import whole_number
from comfyward.errors import InvalidPath, InvalidRequest, NotFound
from comfyward.files.objects import blob_key, view_key
from comfyward.files.pictures import convert, put_mask
from comfyward.runs.files import (
    MAX_SEGMENT_BYTES,
    Stored,
    Url,
    check_segments,
    content_type_of,
    disposition_of,
)
from comfyward.store import files, runs
from comfyward.store.db import now_ms
from comfyward.store.files import StoredFile
from comfyward.store.workflows import DEFAULT_ALIAS

KINDS = ("input", "output", "temp")
TEMP_LASTS_MS = 24 * 3600 * 1000
HEADER_LIMIT_BYTES = 64 << 20
DEFAULT_QUALITY = 90
_ANNOTATED = re.compile(r"(.+) \[(input|output|temp)\]", re.DOTALL)
_ACTIVE_TYPES = ("text/html", "text/javascript", "application/javascript", "text/css", "application/xhtml+xml")


@dataclass(frozen=True)
class Converted:
    data: bytes
    content_type: str


class Files:
    def __init__(self, context: Context, scopes: Scopes) -> None:
        self._context, self._db, self._scopes = context, context.db, scopes

    def routes(self) -> list[Route]:
        return [
            Route("/view", self.view, methods=["GET"]),
            Route("/upload/image", self.upload_image, methods=["POST"]),
            Route("/upload/mask", self.upload_mask, methods=["POST"]),
            Route("/view_metadata/{folder}", self.metadata, methods=["GET"]),
        ]

    async def view(self, request: Request) -> Response:
        scope, query = await self._scopes.of(request), request.query_params
        asked = _asked(query.get("filename", ""), query.get("subfolder", ""), query.get("type", "output"))
        try:
            kind, seen = await self._find_any(scope, asked)
        except NotFound:
            return Response(status_code=404)
        if isinstance(seen, Url):
            return RedirectResponse(seen.url, 307)
        content_type = "application/octet-stream" if seen.content_type in _ACTIVE_TYPES else seen.content_type
        headers = {"Content-Disposition": disposition_of(content_type, seen.name)}
        if "preview" in query or "channel" in query:
            converted = await self.converted(seen, query.get("preview"), query.get("channel", "rgba"))
            if converted is not None:
                return Response(converted.data, media_type=converted.content_type, headers=headers | SAFE)
        return await self._context.contents.serve(
            request,
            replace(seen, content_type=content_type),
            may_change=kind == "input",
            disposition=headers["Content-Disposition"],
        )

    async def upload_image(self, request: Request) -> Response:
        scope = await self._scopes.of(request)
        async with read_upload(request, self._context.settings.upload_limit_bytes) as form:
            upload = _upload(form)
            return await self._store(scope, form, upload.filename, pieces_of(upload))

    async def upload_mask(self, request: Request) -> Response:
        """The picture that `original_ref` names, with the alpha of the uploaded one."""
        scope = await self._scopes.of(request)
        async with read_upload(request, self._context.settings.upload_limit_bytes) as form:
            upload, reference = _upload(form), _reference(form)
            asked = _asked(
                reference.get("filename", ""), reference.get("subfolder", ""), reference.get("type", "output")
            )
            _, original = await self._find_any(scope, asked)
            if isinstance(original, Url):
                raise NotFound(f"There is no picture '{asked[0][1]}'.")

            async def put(folder: Path, target: Path) -> bool:
                await self._context.contents.copy(original.digest, folder / "original")
                with (folder / "mask").open("wb") as mask:
                    async for piece in pieces_of(upload):
                        mask.write(piece)
                return await put_mask(folder / "original", folder / "mask", target)

            data = await made(put)
            return await self._store(scope, form, upload.filename, _once(data))

    async def metadata(self, request: Request) -> Response:
        """The `__metadata__` of a safetensors file of the account."""
        scope = await self._scopes.of(request)
        path = f"/models/{request.path_params['folder']}/{request.query_params.get('filename', '')}"
        try:
            file = await self._db.lookup(files.get, scope.account_id, path)
            header = await self.safetensors_header(file)
        except NotFound:
            return Response(status_code=404)
        return answer(header["__metadata__"]) if "__metadata__" in header else Response(status_code=404)

    async def _find_any(self, scope: Scope, asked: list[tuple[str, str]]) -> tuple[str, Content | Url]:
        """The first that is there, with its kind. Raises NotFound."""
        for kind, path in asked[:-1]:
            with contextlib.suppress(NotFound):
                return kind, await self._find(scope, kind, path)
        kind, path = asked[-1]
        return kind, await self._find(scope, kind, path)

    async def _find(self, scope: Scope, kind: str, path: str) -> Content | Url:
        """Raises NotFound."""
        if kind != "input":
            return await self._db.lookup(_left, scope.account_id, kind, path)
        source = await find_input(self._db, scope.account_id, scope.workflow_id or DEFAULT_ALIAS, f"/input/{path}")
        match source:
            case Url():
                return source
            case Stored(digest, size):
                return Content(digest, size, content_type_of(path), path.rpartition("/")[2])
            case _:
                raise NotFound(f"There is no file '{path}'.")

    async def _store(
        self, scope: Scope, form: FormData, filename: str | None, chunks: AsyncIterator[bytes]
    ) -> Response:
        kind, subfolder = _field(form, "type") or "input", _folder(_field(form, "subfolder") or "")
        if kind not in KINDS:
            raise InvalidRequest(f"'type' must be one of {', '.join(KINDS)}.")
        name = (filename or "").strip("/")
        path = "/".join(part for part in (subfolder, name) if part)
        check_segments(path)
        limit = self._context.settings.upload_limit_bytes
        blob = await self._context.blobs.put_stream(chunks, limit=limit, name=path)
        file = files.new_file(
            scope.account_id, f"/{kind}/{path}", blob.digest, blob.size, content_type_of(name), now_ms()
        )
        if kind != "input":
            file = replace(file, expires_at=now_ms() + TEMP_LASTS_MS)
        overwrite = is_true(_field(form, "overwrite"))
        stored = await self._db.write(_put_beside, file, overwrite)
        inside = f"/{kind}/{subfolder}/" if subfolder else f"/{kind}/"
        return answer({"name": stored.path.removeprefix(inside), "subfolder": subfolder, "type": kind})

    async def converted(self, seen: Content, preview: str | None, channel: str) -> Converted | None:
        """The picture in the form that was asked for, made once; None when the file is no picture."""
        form, _, quality = (preview or "").partition(";")
        form = form if form in ("webp", "jpeg") else "webp" if preview is not None else "png"
        number = whole_number(quality)
        percent = DEFAULT_QUALITY if number is None else min(100, number)
        channel = channel if channel in ("rgb", "a") else "rgba"
        key, objects = view_key(seen.digest, f"{form}-{percent}-{channel}"), self._context.objects
        if await objects.has(key):
            return Converted(await objects.read_all(key), f"image/{form}")

        async def make(folder: Path, target: Path) -> bool:
            await self._context.contents.copy(seen.digest, folder / "source")
            return await convert(folder / "source", target, form=form, quality=percent, channel=channel)

        try:
            data = await made(make)
        except InvalidRequest:
            return None
        await objects.put_derived(key, data)
        return Converted(data, f"image/{form}")

    async def safetensors_header(self, file: StoredFile) -> dict[str, Any]:
        """Raises NotFound for a file of another kind."""
        objects, key = self._context.objects, blob_key(file.digest)
        length = int.from_bytes(
            b"".join([piece async for piece in await objects.read(key, 0, min(8, file.size))]), "little"
        )
        if not 2 <= length <= min(HEADER_LIMIT_BYTES, file.size - 8):
            raise NotFound("The file is no safetensors file.")
        text = b"".join([piece async for piece in await objects.read(key, 8, 8 + length)])
        try:
            header = json.loads(text)
        except ValueError as error:
            raise NotFound("The file is no safetensors file.") from error
        return header if isinstance(header, dict) else {}


def _asked(filename: str, subfolder: str, kind: str) -> list[tuple[str, str]]:
    """(kind, path below it) of what names may mean: a file may be called `x [output]`. Raises InvalidPath."""
    match = _ANNOTATED.fullmatch(filename)
    if match is None:
        return [_located(filename, subfolder, kind)]
    found = [_located(match[1], subfolder, match[2])]
    with contextlib.suppress(InvalidPath):  # the longest of names have no room for it
        found.insert(0, _located(filename, subfolder, kind))
    return found


def _located(filename: str, subfolder: str, kind: str) -> tuple[str, str]:
    if kind not in KINDS:
        raise InvalidRequest(f"'type' must be one of {', '.join(KINDS)}.")
    path = "/".join(part for part in (_folder(subfolder), filename) if part)
    if not filename or filename.startswith("/"):
        raise InvalidPath("The file has no name, or one that begins with a slash.")
    check_segments(path)
    return kind, path


def _left(conn: Connection, account_id: str, kind: str, path: str) -> Content:
    """What a run left or showed. Raises NotFound."""
    left = runs.file(conn, account_id, kind, path)
    return Content(left.digest, left.size, left.content_type, path.rpartition("/")[2])


def _put_beside(conn: Connection, file: StoredFile, overwrite: bool) -> StoredFile:
    """Stores an upload under its name, or beside a file of other content as `name (1).png`, as ComfyUI does."""
    folder, _, name = file.path.rpartition("/")
    number, path = 0, file.path
    while not overwrite:
        taken = files.at(conn, file.account_id, [path])
        if not taken or taken[0].digest == file.digest:
            break
        number += 1
        path = f"{folder}/{_numbered(name, number)}"
    return files.put(conn, replace(file, path=path))


def _numbered(name: str, number: int) -> str:
    """`name (1).png`, with as much of the name as a file system takes."""
    stem, suffix = posixpath.splitext(name)
    tail = f" ({number}){suffix}"
    room = MAX_SEGMENT_BYTES - len(tail.encode())
    return stem.encode()[:room].decode(errors="ignore") + tail


async def made(make: Callable[[Path, Path], Awaitable[bool]]) -> bytes:
    """What a picture operation writes, in a folder of its own. Raises InvalidRequest when it cannot be done."""
    with tempfile.TemporaryDirectory(prefix="cw-view-") as name:
        folder = Path(name)
        if not await make(folder, folder / "target"):
            raise InvalidRequest("The file is not a picture that can be read.")
        return (folder / "target").read_bytes()


def _upload(form: FormData) -> UploadFile:
    upload = form.get("image")
    if not isinstance(upload, UploadFile) or not upload.filename:
        raise InvalidRequest("The form has no file 'image' with a name.")
    return upload


def _reference(form: FormData) -> dict[str, Any]:
    try:
        reference = json.loads(_field(form, "original_ref") or "")
    except ValueError as error:
        raise InvalidRequest("'original_ref' must be a JSON object of filename, subfolder and type.") from error
    if not isinstance(reference, dict) or not all(isinstance(value, str) for value in reference.values()):
        raise InvalidRequest("'original_ref' must be a JSON object of filename, subfolder and type.")
    return reference


def _folder(subfolder: str) -> str:
    """A subfolder as ComfyUI reads it: `./a//b/` is `a/b`."""
    folder = posixpath.normpath(subfolder).strip("/")
    return "" if folder == "." else folder


def _field(form: FormData, name: str) -> str | None:
    value = form.get(name)
    return value if isinstance(value, str) else None


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
