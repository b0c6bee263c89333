"""/api/v1/uploads: large files in pieces that can be broken off and gone on with (tus 1.0.0, core and creation).

(Source: tus.io/protocols/resumable-upload. `Upload-Metadata: path <base64>` says where the file is to lie.)
"""

from __future__ import annotations

import base64
import binascii

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from comfyward.api.context import Context
from comfyward.api.shapes import API_PREFIX
from comfyward.api.whole_numbers import whole_number
from comfyward.errors import InvalidRequest
from comfyward.runs.files import parse_path
from comfyward.store import uploads as stored

VERSION = {"Tus-Resumable": "1.0.0", "Cache-Control": "no-store"}
PREFIX = f"{API_PREFIX}/uploads"


def routes(context: Context) -> list[Route]:
    uploads = context.uploads

    async def begin(request: Request) -> Response:
        caller = await context.auth.caller(request)
        about = _metadata(request)
        path = parse_path(about.get("path") or about.get("filename"))
        upload = await uploads.begin(caller.account.id, path, _number(request, "upload-length"))
        if upload.size == 0:
            await uploads.resume(upload.account_id, upload.id)
        return Response(status_code=201, headers={**VERSION, "Location": f"{PREFIX}/{upload.id}"})

    async def head(request: Request) -> Response:
        caller = await context.auth.caller(request)
        upload = await uploads.resume(caller.account.id, request.path_params["upload_id"])
        return Response(headers={**VERSION, "Upload-Offset": str(upload.offset), "Upload-Length": str(upload.size)})

    async def append(request: Request) -> Response:
        caller = await context.auth.caller(request)
        upload = await context.db.lookup(stored.get, caller.account.id, request.path_params["upload_id"])
        try:
            offset = await uploads.append(upload, _number(request, "upload-offset"), request.stream())
        except ClientDisconnect:
            return Response(status_code=499)
        return Response(status_code=204, headers={**VERSION, "Upload-Offset": str(offset)})

    async def drop(request: Request) -> Response:
        caller = await context.auth.caller(request)
        upload = await context.db.lookup(stored.get, caller.account.id, request.path_params["upload_id"])
        await uploads.drop(upload)
        return Response(status_code=204, headers=VERSION)

    async def options(request: Request) -> Response:
        limit = str(context.settings.upload_limit_bytes)
        offered = {"Tus-Version": "1.0.0", "Tus-Extension": "creation,termination", "Tus-Max-Size": limit}
        return Response(status_code=204, headers={**VERSION, **offered})

    return [
        Route(PREFIX, begin, methods=["POST"]),
        Route(PREFIX, options, methods=["OPTIONS"]),
        Route(f"{PREFIX}/{{upload_id}}", head, methods=["HEAD"]),
        Route(f"{PREFIX}/{{upload_id}}", append, methods=["PATCH"]),
        Route(f"{PREFIX}/{{upload_id}}", drop, methods=["DELETE"]),
    ]


def _number(request: Request, header: str) -> int:
    number = whole_number(request.headers.get(header, ""))
    if number is None:
        raise InvalidRequest(f"The header '{header}' must be a number of bytes.")
    return number


def _metadata(request: Request) -> dict[str, str]:
    """What the client says of the file: pairs of a name and a base64 text."""
    pairs = (pair.strip().partition(" ") for pair in request.headers.get("upload-metadata", "").split(",") if pair)
    try:
        return {name: base64.b64decode(value).decode() for name, _, value in pairs}
    except (binascii.Error, UnicodeDecodeError) as error:
        raise InvalidRequest("The header 'Upload-Metadata' is malformed.") from error
