"""Assets of Comfy API v2: upload, mint from known bytes, get, delete, content with ranges."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import msgspec
from pydantic import Field
from sqlalchemy import Connection
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from comfyward.api import leniency
from comfyward.api.body import pieces_of, read_json, read_upload
from comfyward.api.contents import Content
from comfyward.api.context import Context
from comfyward.api.v2.shapes import Shapes
from comfyward.api.whole_numbers import whole_number
from comfyward.errors import BlobNotFound, InvalidRequest, Unauthenticated
from comfyward.ids import is_digest
from comfyward.runs.files import content_type_of, media_type_of, parse_path
from comfyward.store import files, runs
from comfyward.store.db import now_ms
from comfyward.store.files import StoredFile

HASH_PREFIX = "blake3:"
MIN_LASTS_S, MAX_LASTS_S = 60, 604_800


class HashRequest(leniency.Request):
    hash: str
    file_path: str | None = None
    tags: list[str] = Field(default_factory=list)
    expires_in: int | None = Field(None, ge=MIN_LASTS_S, le=MAX_LASTS_S)


class Unprocessable(InvalidRequest):
    """A form that lacks something (the specification wants 422)."""

    status = 422


def routes(context: Context) -> list[Route]:
    handlers = _Assets(context)
    return [
        Route("/assets", handlers.upload, methods=["POST"]),
        Route("/assets/from-hash", handlers.from_hash, methods=["POST"]),
        Route("/assets/by-hash/{hash}", handlers.head, methods=["HEAD"]),
        Route("/assets/{asset_id}", handlers.get, methods=["GET"]),
        Route("/assets/{asset_id}", handlers.delete, methods=["DELETE"]),
        Route("/assets/{asset_id}/content", handlers.content, methods=["GET"]),
    ]


class _Assets:
    def __init__(self, context: Context) -> None:
        self._context, self._db = context, context.db

    async def upload(self, request: Request) -> Response:
        """The form's fields may come before or after the file; the file is on disk, not in memory, meanwhile."""
        account_id = (await self._context.auth.caller(request)).account.id
        limit = self._context.settings.upload_limit_bytes
        async with read_upload(request, limit, Unprocessable) as form:
            upload = form.get("file")
            if not isinstance(upload, UploadFile):
                raise Unprocessable("The form has no field 'file'.")
            path, content_type = asset_path(_text(form, "file_path")), _text(form, "content_type")
            expires_at = _expires_at(_number(form, "expires_in"))
            expected = _digest(expected) if (expected := form.get("expected_hash")) else None
            pieces = pieces_of(upload)
            blob = await self._context.blobs.put_stream(pieces, limit=limit, digest=expected, name=path)
        known = await self._size_of(account_id, blob.digest) is not None
        file = files.new_file(account_id, path, blob.digest, blob.size, media_type_of(content_type), now_ms())
        file, is_new = await self._db.write(_mint, file, expires_at)
        return await self._answer(request, file, 201 if is_new and not known else 200, created_new=is_new and not known)

    async def from_hash(self, request: Request) -> Response:
        account_id = (await self._context.auth.caller(request)).account.id
        body = await read_json(request, HashRequest, self._context.settings.body_limit_bytes)
        digest = _digest(body.hash)
        size = await self._size_of(account_id, digest)
        if size is None:
            raise BlobNotFound("There are no bytes of this hash.")
        path = asset_path(body.file_path or digest)
        file = files.new_file(account_id, path, digest, size, content_type_of(path), now_ms())
        file, is_new = await self._db.write(_mint_again, file, _expires_at(body.expires_in))
        return await self._answer(request, file, 201 if is_new else 200, created_new=False)

    async def head(self, request: Request) -> Response:
        """200 promises that `from-hash` will work: the bytes are kept from the next sweep."""
        account_id = (await self._context.auth.caller(request)).account.id
        text = request.path_params["hash"].removeprefix(HASH_PREFIX)
        if not is_digest(text) or await self._size_of(account_id, text) is None:
            return Response(status_code=404)
        return Response(status_code=200 if await self._db.write(files.touch_blob, text, now_ms()) else 404)

    async def get(self, request: Request) -> Response:
        return await self._answer(request, await self._file(request))

    async def delete(self, request: Request) -> Response:
        account_id = (await self._context.auth.caller(request)).account.id
        await self._db.write(files.remove_by_id, account_id, request.path_params["asset_id"])
        return Response(status_code=204)

    async def content(self, request: Request) -> Response:
        file = await self._linked(request) or await self._file(request)
        name = file.path.rpartition("/")[2]
        content = Content(file.digest, file.size, file.content_type, name)
        return await self._context.contents.serve(request, content)

    async def _linked(self, request: Request) -> StoredFile | None:
        """The asset of a link that carries its own right, None for other requests."""
        expires, signature = request.query_params.get("expires", ""), request.query_params.get("sig")
        if signature is None or "authorization" in request.headers:
            return None
        if not self._context.auth.check_signature(f"{request.scope['path']}?expires={expires}", signature):
            raise Unauthenticated("The link is not valid.")
        if int(expires) < time.time():
            raise Unauthenticated("The link has expired; get the asset again for a fresh one.")
        return await self._db.lookup(files.by_id_of_any, request.path_params["asset_id"])

    async def _file(self, request: Request) -> StoredFile:
        caller = await self._context.auth.caller(request)
        return await self._db.lookup(files.by_id, caller.account.id, request.path_params["asset_id"])

    async def _size_of(self, account_id: str, digest: str) -> int | None:
        return await self._db.lookup(files.blob_size, account_id, digest)

    async def _answer(
        self, request: Request, file: StoredFile, status: int = 200, *, created_new: bool | None = None
    ) -> Response:
        context = self._context
        shapes = Shapes(context.auth, context.base_url(request), context.settings.retention_days)
        job_id = await self._db.lookup(_job_id, file)
        body = msgspec.json.encode(shapes.asset(file, job_id, created_new=created_new))
        return Response(body, status, media_type="application/json")


def asset_path(file_path: str) -> str:
    """Where an asset's `file_path` lies among the account's files. Raises InvalidPath."""
    return parse_path(f"/{file_path}" if file_path.startswith(("models/", "input/")) else f"/input/{file_path}")


def _mint(conn: Connection, file: StoredFile, expires_at: int | None) -> tuple[StoredFile, bool]:
    return files.mint(conn, replace(file, is_asset=True, expires_at=expires_at))


def _mint_again(conn: Connection, file: StoredFile, expires_at: int | None) -> tuple[StoredFile, bool]:
    """Of bytes that are here already, unless they are being removed just now. Raises BlobNotFound."""
    if not files.touch_blob(conn, file.digest, file.created_at):
        raise BlobNotFound("There are no bytes of this hash.")
    return _mint(conn, file, expires_at)


def _job_id(conn: Connection, file: StoredFile) -> str | None:
    run = runs.get_any(conn, file.run_id) if file.run_id else None
    return run.prompt_id if run else None


def _expires_at(lasts_s: int | None) -> int | None:
    return None if lasts_s is None else now_ms() + lasts_s * 1000


def _digest(text: Any) -> str:
    digest = str(text).lower().removeprefix(HASH_PREFIX)
    if not is_digest(digest):
        raise Unprocessable("The hash is not 'blake3:' and 64 hex digits.")
    return digest


def _text(form: FormData, name: str) -> str:
    value = form.get(name)
    if not isinstance(value, str) or not value:
        raise Unprocessable(f"The form has no field '{name}'.")
    return value


def _number(form: FormData, name: str) -> int | None:
    value = form.get(name) or None
    if value is None:
        return None
    number = whole_number(value, least=MIN_LASTS_S, most=MAX_LASTS_S) if isinstance(value, str) else None
    if number is None:
        raise Unprocessable(f"'{name}' must be {MIN_LASTS_S} to {MAX_LASTS_S}.")
    return number
