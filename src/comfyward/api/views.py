"""Bytes that clients look at: outputs, thumbnails and inputs, by key or by signed link, with ranges."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from comfyward.api.contents import OCTET_STREAM, Content, find_input
from comfyward.api.context import Context
from comfyward.api.shapes import API_PREFIX
from comfyward.errors import NotFound
from comfyward.files.pictures import has_thumbnail
from comfyward.runs.files import Source, Stored, Url, source_from_row
from comfyward.runs.run import Run
from comfyward.store import runs


def router(context: Context) -> APIRouter:
    routes = APIRouter(prefix=f"{API_PREFIX}/view", tags=["view"])

    @routes.get("/workflows/{workflow_id}/output/{run_id}/{name:path}", summary="An output file")
    async def output(request: Request, workflow_id: str, run_id: str, name: str) -> Response:
        found = await _output(context, request, workflow_id, run_id, name)
        content = Content(found["digest"], found["size"], found["content_type"], name)
        return await context.contents.serve(request, content)

    @routes.get("/workflows/{workflow_id}/thumbnail/{run_id}/{name:path}", summary="A thumbnail of an output")
    async def thumbnail(request: Request, workflow_id: str, run_id: str, name: str) -> Response:
        found = await _output(context, request, workflow_id, run_id, name)
        if not has_thumbnail(found["content_type"]):
            raise NotFound(f"'{name}' is neither a picture nor a video.")
        return await context.contents.thumbnail(found["digest"])

    @routes.get("/workflows/{workflow_id}/input/{name:path}", summary="An input file of a workflow")
    async def input_file(request: Request, workflow_id: str, name: str) -> Response:
        caller = await context.auth.caller(request)
        source = await find_input(context.db, caller.account.id, workflow_id, f"/input/{name}")
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
    found = run.file("output", name)
    if found is None:
        raise NotFound(f"Run '{run_id}' has no output '{name}'.")
    return found


async def _serve_source(context: Context, request: Request, source: Source, name: str) -> Response:
    match source:
        case Url(url):
            return RedirectResponse(url, 307)
        case Stored(digest, size):
            return await context.contents.serve(request, Content(digest, size, OCTET_STREAM, name))
        case _:
            raise NotFound(f"There is no file '{name}'.")
