"""Bytes that clients look at: outputs, thumbnails and inputs, by key or by signed link, with ranges."""

from __future__ import annotations

import re
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from comfyward.api.body import is_known, streamed
from comfyward.api.context import Context
from comfyward.api.shapes import API_PREFIX
from comfyward.api.whole_numbers import LARGEST, whole_number
from comfyward.errors import NotFound, OutsideFile
from comfyward.files.objects import blob_key, thumbnail_key
from comfyward.files.pictures import has_thumbnail, make_thumbnail
from comfyward.runs.files import Source, Stored, Url, content_type_of, disposition_of, source_from_row
from comfyward.runs.run import Run
from comfyward.store import files, runs
from comfyward.store.runs import RunFilter

_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.IGNORECASE | re.ASCII)
# What a Content-Type may be made of; more than that could end the header and begin another.
_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+( *;[\x20-\x7e]*)?", re.ASCII)
FOREVER = "private, max-age=31536000, immutable"


def router(context: Context) -> APIRouter:
    routes = APIRouter(prefix=f"{API_PREFIX}/view", tags=["view"])

    @routes.get("/workflows/{workflow_id}/output/{run_id}/{name:path}", summary="An output file")
    async def output(request: Request, workflow_id: str, run_id: str, name: str) -> Response:
        found = await _output(context, request, workflow_id, run_id, name)
        return await serve(context, request, found["digest"], found["size"], found["content_type"], name)

    @routes.get("/workflows/{workflow_id}/thumbnail/{run_id}/{name:path}", summary="A thumbnail of an output")
    async def thumbnail(request: Request, workflow_id: str, run_id: str, name: str) -> Response:
        found = await _output(context, request, workflow_id, run_id, name)
        if not has_thumbnail(found["content_type"]):
            raise NotFound(f"'{name}' is neither a picture nor a video.")
        return await thumbnail_of(context, found["digest"])

    @routes.get("/workflows/{workflow_id}/input/{name:path}", summary="An input file of a workflow")
    async def input_file(request: Request, workflow_id: str, name: str) -> Response:
        caller = await context.auth.caller(request)
        source = await find_input(context, caller.account.id, workflow_id, f"/input/{name}")
        return await _serve_source(context, request, source, name)

    @routes.get("/workflows/{workflow_id}/run/{run_id}/{path:path}", summary="A file that came with a run")
    async def run_file(request: Request, workflow_id: str, run_id: str, path: str) -> Response:
        run = await _run(context, request, workflow_id, run_id)
        row = run.files.get(f"/{path}")
        if row is None:
            raise NotFound(f"Run '{run_id}' has no file '/{path}'.")
        return await _serve_source(context, request, source_from_row(row), path.rpartition("/")[2])

    @routes.get("/workflows/{workflow_id}/temp/{name:path}", include_in_schema=False)
    async def temp(request: Request, workflow_id: str, name: str) -> Response:
        await context.auth.caller(request)
        raise NotFound("Previews are not kept.", hint="Use a node that saves, such as SaveImage.")

    return routes


async def find_input(context: Context, account_id: str, workflow_id: str, path: str) -> Source:
    """Where an input of a workflow comes from: the account's own file, else the newest run that brought it."""
    try:
        file = await context.db.lookup(files.get, account_id, path)
        return Stored(file.digest, file.size)
    except NotFound:
        which = RunFilter(workflow_id=workflow_id, limit=50)
        for run in await context.db.read(runs.find, account_id, which):
            if path in run.files:
                return source_from_row(run.files[path])
    raise NotFound(f"Workflow '{workflow_id}' has no file '{path}'.")


async def serve(
    context: Context,
    request: Request,
    digest: str,
    size: int,
    content_type: str,
    name: str,
    *,
    may_change: bool = False,
    disposition: str | None = None,
) -> Response:
    """A stored blob, or the range of it that was asked for. With `may_change` the same URL may show another one."""
    if disposition is None and (url := await _url_of(context, request, digest, content_type, name)):
        return RedirectResponse(url, 307, {"Cache-Control": "no-store", "Access-Control-Allow-Origin": "*"})
    if not _MEDIA_TYPE.fullmatch(content_type):
        content_type = "application/octet-stream"
    caching = "no-cache" if may_change else FOREVER
    etag = f'"{digest}"'
    if is_known(request, etag):
        return Response(status_code=304, headers={"ETag": etag, "Cache-Control": caching})
    asked = _range(request, size, etag)
    start, end = asked or (0, size)
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Length": str(end - start),
        "ETag": etag,
        "Cache-Control": caching,
        "Content-Disposition": disposition or disposition_of(content_type, name),
        **SAFE,
    }
    if asked:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    is_read = end > start and request.method != "HEAD"
    pieces = await context.objects.read(blob_key(digest), start, end) if is_read else _nothing()
    status = 206 if asked else 200
    return streamed(request, pieces, status_code=status, headers=headers, media_type=content_type)


async def _url_of(context: Context, request: Request, digest: str, content_type: str, name: str) -> str | None:
    """Where the object store itself hands the blob out as it is asked for.

    Not to our own pages: their policy lets them load nothing from elsewhere. Its URLs are for GET alone.
    """
    is_ours = request.method == "HEAD" or request.headers.get("sec-fetch-site") == "same-origin"
    if context.settings.objects_direct != "all" or is_ours:
        return None
    stored_as = await context.db.lookup(files.blob_name, digest)
    if stored_as != name.rpartition("/")[2] or content_type != content_type_of(stored_as):
        return None
    return await context.objects.get_url(blob_key(digest))


async def thumbnail_of(context: Context, digest: str) -> Response:
    """The thumbnail of a stored picture or video. Raises NotFound when none can be made."""
    data = await _thumbnail(context, digest)
    return Response(data, media_type="image/webp", headers={"Cache-Control": FOREVER, **SAFE})


# A file of a run is somebody else's content on our origin: nothing in it may run.
SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'",
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
}


async def _run(context: Context, request: Request, workflow_id: str, run_id: str) -> Run:
    """The run behind a link: by its signature, else by the caller's key. Raises NotFound, Unauthenticated."""
    signature = request.query_params.get("sig")
    if signature is not None and context.auth.check_signature(request.scope["path"], signature):
        run = await context.db.lookup(runs.get_any, run_id)
    else:
        caller = await context.auth.caller(request)
        run = await context.db.lookup(runs.get, caller.account.id, run_id)
    if run is None or run.workflow_id != workflow_id or run.deleted_at is not None:
        raise NotFound(f"There is no run '{run_id}'.")
    return run


async def _output(context: Context, request: Request, workflow_id: str, run_id: str, name: str) -> dict[str, Any]:
    run = await _run(context, request, workflow_id, run_id)
    found = run.left("output", name)
    if found is None:
        raise NotFound(f"Run '{run_id}' has no output '{name}'.")
    return found


async def _serve_source(context: Context, request: Request, source: Source, name: str) -> Response:
    match source:
        case Url(url):
            return RedirectResponse(url, 307)
        case Stored(digest, size):
            return await serve(context, request, digest, size, "application/octet-stream", name)
        case _:
            raise NotFound(f"There is no file '{name}'.")


async def _thumbnail(context: Context, digest: str) -> bytes:
    key = thumbnail_key(digest)
    if await context.objects.has(key):
        return await context.objects.read_all(key)
    with tempfile.TemporaryDirectory(prefix="cw-thumb-") as folder:
        source, target = Path(folder) / "source", Path(folder) / "target.webp"
        with source.open("wb") as file:
            async for piece in await context.objects.read(blob_key(digest)):
                file.write(piece)
        if not await make_thumbnail(source, target):
            raise NotFound("No thumbnail can be made of this file.")
        data = target.read_bytes()
    await context.objects.put_derived(key, data)
    return data


def _range(request: Request, size: int, etag: str) -> tuple[int, int] | None:
    """The part that is asked for; None for the whole, also where the part was meant of another version (If-Range).

    Raises OutsideFile.
    """
    match = _RANGE.fullmatch(request.headers.get("range", ""))
    if match is None or size == 0 or request.headers.get("if-range", etag) != etag:
        return None
    return _part_of(size, *match.groups())


def _part_of(size: int, first: str, last: str) -> tuple[int, int] | None:
    """From one position to another, or as much of the end as `last` says. Raises OutsideFile."""
    if first:
        start, end = _number(first), min(_number(last) + 1, size) if last else size
    elif last:
        start, end = max(0, size - _number(last)), size
    else:
        return None
    if start >= size or start >= end:
        raise OutsideFile(f"The range lies outside the file of {size} bytes.")
    return start, end


def _number(digits: str) -> int:
    """A position in a file; what is too long for one lies behind every end."""
    number = whole_number(digits)
    return LARGEST if number is None else number


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""
