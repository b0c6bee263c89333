"""Files of v1: the account's own inputs and models, uploaded or named by digest."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from pydantic import BaseModel, Field
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response

from comfyward.api import leniency
from comfyward.api.auth import Auth
from comfyward.api.body import answer, answer_beside, pieces_of, read_json
from comfyward.api.contents import OCTET_STREAM
from comfyward.api.endpoint import FORM, Endpoint, Media, Models
from comfyward.api.query import read_query
from comfyward.api.receiving import received, received_form
from comfyward.api.times import iso
from comfyward.api.v1 import answers
from comfyward.dispatch.blobs import Blobs
from comfyward.errors import InvalidRequest, NotFound
from comfyward.paths import INPUT_ROOT
from comfyward.runs.files import content_type_of, parse_path
from comfyward.store import blobs, files
from comfyward.store.db import Database, now_ms
from comfyward.store.files import StoredFile


class KnownFile(leniency.Request):
    """A file whose bytes the server has already, from an earlier upload or run of the same account."""

    path: str
    digest: str = Field(description="blake3, as an upload or an output shows it.")


class UploadQuery(BaseModel):
    path: str | None = Field(None, description="Where graphs find the file, e.g. /input/a.png.")


class FileForm(BaseModel):
    """A form with a file. Its own name is used where `path` is missing."""

    file: bytes
    path: str | None = Field(None, description="Where graphs find the file, e.g. /input/a.png.")


class FilesQuery(BaseModel):
    prefix: str | None = Field(None, description="Only files whose path begins so.")


class PathQuery(BaseModel):
    path: str


class Files:
    def __init__(self, auth: Auth, db: Database, blobs: Blobs, body_limit_bytes: int, upload_limit_bytes: int) -> None:
        self._auth, self._db, self._blobs = auth, db, blobs
        self._body_limit, self._upload_limit = body_limit_bytes, upload_limit_bytes

    def endpoints(self) -> list[Endpoint]:
        listed = Models(query=FilesQuery, answer=list[answers.File])
        deleted = Models(query=PathQuery, status=204)
        sized = Models(answer_headers={"X-File-Size": "In bytes."})
        return [
            Endpoint("POST", "/files", self.upload, "Upload a file", UPLOADED),
            Endpoint("GET", "/files", self.find, "List uploaded files", listed),
            Endpoint("DELETE", "/files", self.delete, "Delete an uploaded file", deleted),
            Endpoint("HEAD", "/files/{digest}", self.head, "Check if the server has these bytes", sized),
        ]

    async def upload(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        path = read_query(request, UploadQuery).path
        content_type = request.headers.get("content-type", "").partition(";")[0].lower()
        if content_type == "application/json" and path is None:
            file = await self._by_digest(request, caller.account.id)
        elif content_type == FORM:
            file = await self._from_form(request, caller.account.id, path)
        elif path is not None:
            async with received(request, caller.account.id) as chunks:
                file = await self._stored(caller.account.id, parse_path(path), chunks)
        else:
            raise InvalidRequest("The path is missing.", hint="POST /api/v1/files?path=/input/NAME with the bytes.")
        return answer(_shape(file), 201)

    async def find(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        prefix = read_query(request, FilesQuery).prefix
        found = await self._db.read(files.find, caller.account.id, prefix)
        about = files.LISTED_BYTES * len(found)
        return await answer_beside(caller.account.id, about, lambda: [_shape(file) for file in found])

    async def head(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        size = await self._db.lookup(blobs.size_for, caller.account.id, request.path_params["digest"])
        if size is None:
            raise NotFound("These bytes are not here.")
        return Response(headers={"X-File-Size": str(size)})

    async def delete(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        path = parse_path(read_query(request, PathQuery).path)
        await self._db.write(files.remove, caller.account.id, path)
        return Response(status_code=204)

    async def _by_digest(self, request: Request, account_id: str) -> StoredFile:
        known = await read_json(request, KnownFile, self._body_limit)
        digest = known.digest.removeprefix("blake3:")
        size = await self._db.lookup(blobs.size_for, account_id, digest)
        if size is None:
            raise NotFound("These bytes are not here.", hint="Upload them with POST /api/v1/files?path=PATH.")
        path = parse_path(known.path)
        room = await self._blobs.room(account_id, path)
        return await self._db.write(files.put, _named(account_id, path, digest, size), room.most)

    async def _from_form(self, request: Request, account_id: str, path: str | None) -> StoredFile:
        async with received_form(request, self._blobs, account_id, self._upload_limit) as form:
            upload, field = form.get("file"), form.get("path")
            if not isinstance(upload, UploadFile):
                raise InvalidRequest("The form has no field 'file'.", hint="curl -F file=@a.png -F path=/input/a.png …")
            named = f"{INPUT_ROOT}{upload.filename}" if upload.filename else None
            wanted = path or (field if isinstance(field, str) else None) or named
            if wanted is None:
                hint = "Say where it is to lie: -F path=/input/a.png."
                raise InvalidRequest("The form's file has no name.", hint=hint)
            return await self._stored(account_id, parse_path(wanted), pieces_of(upload))

    async def _stored(self, account_id: str, path: str, chunks: AsyncIterator[bytes]) -> StoredFile:
        room = await self._blobs.room(account_id, path)
        with room.within(self._upload_limit) as limit:
            blob = await self._blobs.put_stream(chunks, limit=limit, name=path)
        return await self._db.write(files.put, _named(account_id, path, blob.digest, blob.size), room.most)


UPLOADED = Models(
    query=UploadQuery,
    body=(OCTET_STREAM, Media(FORM, FileForm), KnownFile),
    answer=answers.File,
    status=201,
    description="Raw bytes with ?path=/input/a.png; multipart with `file` and optionally `path`; or JSON "
    "{path, digest} for bytes that the server has already. A graph that names the file gets it.",
)


def _named(account_id: str, path: str, digest: str, size: int) -> StoredFile:
    return files.new_file(account_id, path, digest, size, content_type_of(path), now_ms())


def _shape(file: StoredFile) -> dict[str, Any]:
    return {
        "path": file.path,
        "digest": f"blake3:{file.digest}",
        "size": file.size,
        "content_type": file.content_type,
        "created_at": iso(file.named_at),
    }
