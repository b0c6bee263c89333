"""Assets of Comfy API v2: upload, create from known bytes, get, delete, content with ranges."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.auth import Auth
from comfyward.api.body import answer, pieces_of, read_json
from comfyward.api.contents import OCTET_STREAM, Content, Contents
from comfyward.api.endpoint import FORM, Endpoint, Media, Models
from comfyward.api.limits import RequestLimits
from comfyward.api.receiving import received_form
from comfyward.api.v2.models import MAX_LIFETIME_S, MIN_LIFETIME_S, Asset, AssetUpload, HashRequest, LinkQuery
from comfyward.api.v2.shapes import Rendering
from comfyward.api.whole_numbers import whole_number
from comfyward.dispatch.blobs import Blobs
from comfyward.errors import BlobNotFound, InvalidRequest, Unauthenticated
from comfyward.ids import is_digest
from comfyward.paths import INPUT_ROOT
from comfyward.runs.files import content_type_of, media_type_of, parse_path
from comfyward.store import blobs, files, runs
from comfyward.store.db import Database, now_ms
from comfyward.store.files import StoredFile

HASH_PREFIX = "blake3:"
CONTENT = Models(query=LinkQuery, headers={"Range": "Such as `bytes=0-1023`."}, answer=OCTET_STREAM, needs_key=False)


class Unprocessable(InvalidRequest):
    """A form without a field that it must have (the specification wants 422)."""

    status = 422


class Assets:
    def __init__(
        self, db: Database, auth: Auth, blobs: Blobs, contents: Contents, rendering: Rendering, limits: RequestLimits
    ) -> None:
        self._db, self._auth, self._blobs, self._contents = db, auth, blobs, contents
        self._rendering, self._limits = rendering, limits

    def endpoints(self) -> list[Endpoint]:
        asset, uploaded = Models(answer=Asset), Models(body=Media(FORM, AssetUpload), answer=Asset, status=201)
        minted = Models(body=HashRequest, answer=Asset, status=201)
        return [
            Endpoint("POST", "/assets", self.upload, "Upload an asset", uploaded),
            Endpoint("POST", "/assets/from-hash", self.from_hash, "Create an asset of known bytes", minted),
            Endpoint("HEAD", "/assets/by-hash/{hash}", self.head, "Check if bytes are known"),
            Endpoint("GET", "/assets/{asset_id}", self.get, "Get an asset", asset),
            Endpoint("DELETE", "/assets/{asset_id}", self.delete, "Delete an asset", Models(status=204)),
            Endpoint("GET", "/assets/{asset_id}/content", self.content, "An asset's bytes", CONTENT),
        ]

    async def upload(self, request: Request) -> Response:
        """The form's fields may come before or after the file, which is on disk meanwhile."""
        account_id = (await self._auth.caller(request)).account.id
        limit = self._limits.upload
        async with received_form(request, self._blobs, account_id, limit, Unprocessable) as form:
            upload = form.get("file")
            if not isinstance(upload, UploadFile):
                raise Unprocessable("The form has no field 'file'.")
            path, content_type = asset_path(_text(form, "file_path")), _text(form, "content_type")
            expires_at = _expires_at(_lifetime_s(form))
            expected = _digest(expected) if (expected := form.get("expected_hash")) else None
            room = await self._blobs.room(account_id, path)
            with room.within(limit) as most:
                blob = await self._blobs.put_stream(pieces_of(upload), limit=most, digest=expected, name=path)
        known = await self._size_of(account_id, blob.digest) is not None
        file = files.new_file(account_id, path, blob.digest, blob.size, media_type_of(content_type), now_ms())
        file, is_new = await self._db.write(_mint, file, expires_at, room.most)
        return await self._answer(request, file, 201 if is_new and not known else 200, created_new=is_new and not known)

    async def from_hash(self, request: Request) -> Response:
        account_id = (await self._auth.caller(request)).account.id
        body = await read_json(request, HashRequest, self._limits.body)
        digest = _digest(body.hash)
        size = await self._size_of(account_id, digest)
        if size is None:
            raise BlobNotFound("There are no bytes of this hash.")
        path = asset_path(body.file_path or digest)
        file = files.new_file(account_id, path, digest, size, content_type_of(path), now_ms())
        room = await self._blobs.room(account_id, path)
        file, is_new = await self._db.write(_mint_again, file, _expires_at(body.expires_in), room.most)
        return await self._answer(request, file, 201 if is_new else 200, created_new=False)

    async def head(self, request: Request) -> Response:
        """200 promises that `from-hash` will work: the next sweep spares the bytes."""
        account_id = (await self._auth.caller(request)).account.id
        digest = request.path_params["hash"].removeprefix(HASH_PREFIX)
        if not is_digest(digest) or await self._size_of(account_id, digest) is None:
            return Response(status_code=404)
        return Response(status_code=200 if await self._db.write(blobs.touch, digest, now_ms()) else 404)

    async def get(self, request: Request) -> Response:
        return await self._answer(request, await self._file(request))

    async def delete(self, request: Request) -> Response:
        account_id = (await self._auth.caller(request)).account.id
        await self._db.write(files.remove_by_id, account_id, request.path_params["asset_id"])
        return Response(status_code=204)

    async def content(self, request: Request) -> Response:
        file = await self._linked(request) or await self._file(request)
        name = file.path.rpartition("/")[2]
        return await self._contents.serve(request, Content(file.digest, file.size, file.content_type, name))

    async def _linked(self, request: Request) -> StoredFile | None:
        """The asset of a signed link, None for other requests. Raises Unauthenticated, NotFound."""
        expires, signature = request.query_params.get("expires", ""), request.query_params.get("sig")
        if signature is None or "authorization" in request.headers:
            return None
        if not self._auth.check_signature(f"{request.scope['path']}?expires={expires}", signature):
            raise Unauthenticated("The link is not valid.")
        if int(expires) < time.time():
            raise Unauthenticated("The link has expired; get the asset again for a fresh one.")
        return await self._db.lookup(files.by_id_of_any, request.path_params["asset_id"])

    async def _file(self, request: Request) -> StoredFile:
        caller = await self._auth.caller(request)
        return await self._db.lookup(files.by_id, caller.account.id, request.path_params["asset_id"])

    async def _size_of(self, account_id: str, digest: str) -> int | None:
        return await self._db.lookup(blobs.size_for, account_id, digest)

    async def _answer(
        self, request: Request, file: StoredFile, status: int = 200, *, created_new: bool | None = None
    ) -> Response:
        job_id = await self._db.lookup(_job_id, file)
        return answer(self._rendering.of(request).asset(file, job_id, created_new=created_new), status)


def asset_path(file_path: str) -> str:
    """The place of an asset's `file_path` among the account's files. Raises InvalidPath."""
    return parse_path(f"/{file_path}" if file_path.startswith(("models/", "input/")) else f"{INPUT_ROOT}{file_path}")


def _mint(conn: Connection, file: StoredFile, expires_at: int | None, most: int) -> tuple[StoredFile, bool]:
    return files.mint(conn, replace(file, is_asset=True, expires_at=expires_at), most)


def _mint_again(conn: Connection, file: StoredFile, expires_at: int | None, most: int) -> tuple[StoredFile, bool]:
    """Mints an asset of stored bytes. Raises BlobNotFound when these are just being removed."""
    if not blobs.touch(conn, file.digest, file.created_at):
        raise BlobNotFound("There are no bytes of this hash.")
    return _mint(conn, file, expires_at, most)


def _job_id(conn: Connection, file: StoredFile) -> str | None:
    run = runs.get_any(conn, file.run_id) if file.run_id else None
    return run.prompt_id if run else None


def _expires_at(lifetime_s: int | None) -> int | None:
    return None if lifetime_s is None else now_ms() + lifetime_s * 1000


def _digest(text: Any) -> str:
    digest = str(text).lower().removeprefix(HASH_PREFIX)
    if not is_digest(digest):
        raise Unprocessable("The hash must be 'blake3:' and 64 hex digits.")
    return digest


def _text(form: FormData, name: str) -> str:
    value = form.get(name)
    if not isinstance(value, str) or not value:
        raise Unprocessable(f"The form has no field '{name}'.")
    return value


def _lifetime_s(form: FormData) -> int | None:
    value = form.get("expires_in") or None
    if value is None:
        return None
    text = value if isinstance(value, str) else ""
    lifetime_s = whole_number(text, least=MIN_LIFETIME_S, most=MAX_LIFETIME_S)
    if lifetime_s is None:
        raise Unprocessable(f"'expires_in' must be {MIN_LIFETIME_S} to {MAX_LIFETIME_S}.")
    return lifetime_s
