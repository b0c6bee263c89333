"""ComfyUI's routes for uploads: pictures, and masks that are put into one."""

from __future__ import annotations

import posixpath
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.body import answer, pieces_of
from comfyward.api.endpoint import FORM, Endpoint, Media, Models
from comfyward.api.leniency import is_true
from comfyward.api.native.models import ImageUpload, MaskUpload, UploadedFile
from comfyward.api.native.named_files import NamedFiles, check_kind, normalized
from comfyward.api.native.pictures import Pictures
from comfyward.api.native.scope import Scope, Scopes
from comfyward.api.receiving import received_form
from comfyward.dispatch.blobs import Blobs
from comfyward.errors import InvalidRequest, NotFound
from comfyward.python_json import NOT_JSON, read_request
from comfyward.runs.files import MAX_SEGMENT_BYTES, Url, check_segments, content_type_of
from comfyward.store import files
from comfyward.store.db import Database, now_ms
from comfyward.store.files import StoredFile

TEMP_LIFETIME_MS = 24 * 3600 * 1000
ASKED_IN_TURN = 20  # names of which the first that is free is found


class Uploads:
    def __init__(
        self, db: Database, scopes: Scopes, names: NamedFiles, pictures: Pictures, blobs: Blobs, limit_bytes: int
    ) -> None:
        self._db, self._scopes, self._names, self._pictures = db, scopes, names, pictures
        self._blobs, self._limit_bytes = blobs, limit_bytes

    def endpoints(self) -> list[Endpoint]:
        image, mask = (Models(body=Media(FORM, form), answer=UploadedFile) for form in (ImageUpload, MaskUpload))
        return [
            Endpoint("POST", "/upload/image", self.image, "Upload a file", image),
            Endpoint("POST", "/upload/mask", self.mask, "Upload a mask of a picture", mask),
        ]

    async def image(self, request: Request) -> Response:
        scope = await self._scopes.of(request)
        async with received_form(request, self._blobs, scope.account_id, self._limit_bytes) as form:
            upload = _upload(form)
            return await self._store(scope, form, upload.filename, pieces_of(upload))

    async def mask(self, request: Request) -> Response:
        """Stores the picture that `original_ref` names, with the alpha channel of the uploaded one."""
        scope = await self._scopes.of(request)
        async with received_form(request, self._blobs, scope.account_id, self._limit_bytes) as form:
            upload, reference = _upload(form), _reference(form)
            name, subfolder = reference.get("filename", ""), reference.get("subfolder", "")
            _, original = await self._names.find(scope, name, subfolder, reference.get("type", "output"))
            if isinstance(original, Url):
                raise NotFound(f"There is no picture '{name}'.")
            masked = await self._pictures.masked(scope.account_id, original.digest, pieces_of(upload))
            return await self._store(scope, form, upload.filename, _once(masked))

    async def _store(
        self, scope: Scope, form: FormData, filename: str | None, pieces: AsyncIterator[bytes]
    ) -> Response:
        kind, subfolder = _field(form, "type") or "input", normalized(_field(form, "subfolder") or "")
        check_kind(kind)
        name = (filename or "").strip("/")
        path = "/".join(part for part in (subfolder, name) if part)
        check_segments(path)
        room = await self._blobs.room(scope.account_id, f"/{kind}/{path}")
        with room.within(self._limit_bytes) as limit:
            blob = await self._blobs.put_stream(pieces, limit=limit, name=path)
        content_type, now = content_type_of(name), now_ms()
        file = files.new_file(scope.account_id, f"/{kind}/{path}", blob.digest, blob.size, content_type, now)
        if kind != "input":
            file = replace(file, expires_at=now + TEMP_LIFETIME_MS)
        stored = await self._db.write(_put, file, room.most, is_true(_field(form, "overwrite")))
        folder = f"/{kind}/{subfolder}/" if subfolder else f"/{kind}/"
        return answer({"name": stored.path.removeprefix(folder), "subfolder": subfolder, "type": kind})


def _put(conn: Connection, file: StoredFile, most: int, overwrite: bool) -> StoredFile:
    """Stores an upload under its name, or beside a file of other content as `name (1).png`, as ComfyUI does."""

    def is_taken(number: int) -> bool:
        there = files.at(conn, file.account_id, [_numbered(file.path, number)])
        return bool(there) and there[0].digest != file.digest

    number = 0 if overwrite else _first_free(is_taken)
    return files.put(conn, replace(file, path=_numbered(file.path, number)), most)


def _first_free(is_taken: Callable[[int], bool]) -> int:
    """The first number that is not taken, if that is a small one; else one after a number that is, found by halving.

    So a name that thousands of files have costs a few questions, not thousands for each upload.
    """
    for number in range(ASKED_IN_TURN):
        if not is_taken(number):
            return number
    taken, free = ASKED_IN_TURN - 1, ASKED_IN_TURN
    while is_taken(free):
        taken, free = free, 2 * free
    while free - taken > 1:
        middle = (taken + free) // 2
        taken, free = (middle, free) if is_taken(middle) else (taken, middle)
    return free


def _numbered(path: str, number: int) -> str:
    """`name (1).png` of `name.png`, cut to the length that a file system takes. 0: the path itself."""
    if not number:
        return path
    folder, _, name = path.rpartition("/")
    stem, suffix = posixpath.splitext(name)
    tail = f" ({number}){suffix}"
    room = MAX_SEGMENT_BYTES - len(tail.encode())
    return f"{folder}/{stem.encode()[:room].decode(errors='ignore')}{tail}"


def _upload(form: FormData) -> UploadFile:
    upload = form.get("image")
    if not isinstance(upload, UploadFile) or not upload.filename:
        raise InvalidRequest("The form has no file 'image' with a name.")
    return upload


def _reference(form: FormData) -> dict[str, Any]:
    try:
        reference = read_request(_field(form, "original_ref") or "")
    except NOT_JSON as error:
        raise InvalidRequest("'original_ref' must be a JSON object of filename, subfolder and type.") from error
    if not isinstance(reference, dict) or not all(isinstance(value, str) for value in reference.values()):
        raise InvalidRequest("'original_ref' must be a JSON object of filename, subfolder and type.")
    return reference


def _field(form: FormData, name: str) -> str | None:
    value = form.get(name)
    return value if isinstance(value, str) else None


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
