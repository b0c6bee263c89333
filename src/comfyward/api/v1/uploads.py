"""/api/v1/uploads: large files in pieces, which can be resumed after a break (tus 1.0.0, core and creation).

(Source: tus.io/protocols/resumable-upload. `Upload-Metadata: path <base64>` says where graphs find the file.)
"""

from __future__ import annotations

import base64

from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.auth import Auth
from comfyward.api.endpoint import NOTHING, Endpoint, Models
from comfyward.api.public_url import API_PREFIX
from comfyward.api.receiving import received
from comfyward.api.whole_numbers import whole_number
from comfyward.dispatch.uploads import Uploads as Stores
from comfyward.errors import InvalidRequest
from comfyward.runs.files import parse_path
from comfyward.store import uploads
from comfyward.store.db import Database
from comfyward.store.uploads import Upload

VERSION = {"Tus-Resumable": "1.0.0", "Cache-Control": "no-store"}
OFFSET = {"Upload-Offset": "The size of what the server has, in bytes."}
PIECE = "application/offset+octet-stream"


class Uploads:
    def __init__(self, auth: Auth, db: Database, stores: Stores, limit_bytes: int) -> None:
        self._auth, self._db, self._uploads, self._limit = auth, db, stores, limit_bytes

    def endpoints(self) -> list[Endpoint]:
        begun = Models(
            headers={
                "Upload-Length": "The size of the whole file in bytes.",
                "Upload-Metadata": "`path` and a base64 text: where graphs find the file.",
            },
            answer_headers={"Location": "The path of the upload."},
            status=201,
            description="Uploads in pieces, by tus 1.0.0.",
        )
        piece = Models(
            headers={"Upload-Offset": "The position of this piece: the size of what the server has."},
            body=PIECE,
            answer_headers=OFFSET,
            status=204,
        )
        one = "/uploads/{upload_id}"
        return [
            Endpoint("POST", "/uploads", self.begin, "Begin an upload in pieces", begun),
            Endpoint(
                "OPTIONS",
                "/uploads",
                self.options,
                "The version and extensions of tus",
                Models(status=204, needs_key=False),
            ),
            Endpoint("HEAD", one, self.head, "The size of what the server has", Models(answer_headers=OFFSET)),
            Endpoint("PATCH", one, self.append, "Send a piece", piece),
            Endpoint("DELETE", one, self.drop, "Give up an upload", NOTHING),
        ]

    async def begin(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        about = _metadata(request)
        path = parse_path(about.get("path") or about.get("filename"))
        upload = await self._uploads.begin(caller.account.id, path, _number(request, "upload-length"))
        if upload.size == 0:
            await self._uploads.resume(upload.account_id, upload.id)
        return Response(status_code=201, headers={**VERSION, "Location": f"{API_PREFIX}/uploads/{upload.id}"})

    async def options(self, request: Request) -> Response:
        offered = {"Tus-Version": "1.0.0", "Tus-Extension": "creation,termination", "Tus-Max-Size": str(self._limit)}
        return Response(status_code=204, headers={**VERSION, **offered})

    async def head(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        upload = await self._uploads.resume(caller.account.id, request.path_params["upload_id"])
        return Response(headers={**VERSION, "Upload-Offset": str(upload.offset), "Upload-Length": str(upload.size)})

    async def append(self, request: Request) -> Response:
        upload = await self._upload(request)
        async with received(request, upload.account_id) as chunks:
            offset = await self._uploads.append(upload, _number(request, "upload-offset"), chunks)
        return Response(status_code=204, headers={**VERSION, "Upload-Offset": str(offset)})

    async def drop(self, request: Request) -> Response:
        await self._uploads.drop(await self._upload(request))
        return Response(status_code=204, headers=VERSION)

    async def _upload(self, request: Request) -> Upload:
        caller = await self._auth.caller(request)
        return await self._db.lookup(uploads.get, caller.account.id, request.path_params["upload_id"])


def _number(request: Request, header: str) -> int:
    """Raises InvalidRequest."""
    number = whole_number(request.headers.get(header, ""))
    if number is None:
        raise InvalidRequest(f"The header '{header}' must be a number of bytes.")
    return number


def _metadata(request: Request) -> dict[str, str]:
    """The values of Upload-Metadata: pairs of a name and a base64 text. Raises InvalidRequest."""
    pairs = (pair.strip().partition(" ") for pair in request.headers.get("upload-metadata", "").split(",") if pair)
    try:
        return {name: base64.b64decode(value).decode() for name, _, value in pairs}
    except ValueError as error:
        raise InvalidRequest("The header 'Upload-Metadata' is malformed.") from error
