"""/api/v1 beside runs and workflows: files, what exists (accelerators, nodes, models), the account, webhooks."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field
from starlette.datastructures import UploadFile

from comfyward.api import leniency
from comfyward.api.body import answer, pieces_of, read_json, read_upload, schema_of
from comfyward.api.context import Context
from comfyward.api.shapes import API_PREFIX, Shapes, iso
from comfyward.errors import InvalidRequest, NotFound
from comfyward.runs.files import content_type_of, parse_import, parse_path
from comfyward.store import accounts, files, imports, webhooks
from comfyward.store.db import now_ms
from comfyward.store.files import StoredFile
from comfyward.store.imports import Import
from comfyward.workflows.catalog import Catalog

DEFAULT_USAGE_DAYS = 30


class KnownFile(leniency.Request):
    """A file whose bytes the server has already, from an earlier upload or run of the same account."""

    path: str
    digest: str = Field(description="blake3, as an upload or an output shows it.")


class ImportRequest(leniency.Request):
    """A file that the server is to fetch."""

    path: str = Field(description="Where graphs find it, e.g. /models/loras/style.safetensors.")
    url: str
    digest: str | None = Field(None, description="blake3 or sha256 that the file must have.")
    headers: dict[str, str] | None = Field(None, description="Sent to the URL's own host only.")


def router(context: Context) -> APIRouter:
    routes = APIRouter(prefix=API_PREFIX)
    _add_file_routes(routes, context)
    _add_import_routes(routes, context)
    _add_offer_routes(routes, context)
    _add_account_routes(routes, context)
    return routes


def _add_file_routes(routes: APIRouter, context: Context) -> None:
    db = context.db

    @routes.post(
        "/files",
        tags=["files"],
        summary="Upload a file",
        description="Raw bytes with ?path=/input/a.png; multipart with `file` and optionally `path`; or JSON "
        "{path, digest} for bytes that the server has already. A graph that names the file gets it.",
    )
    async def upload(request: Request, path: str | None = None) -> Response:
        caller = await context.auth.caller(request)
        content_type = request.headers.get("content-type", "").partition(";")[0].lower()
        if content_type == "application/json" and path is None:
            file = await _from_digest(context, request, caller.account.id)
        elif content_type == "multipart/form-data":
            file = await _from_form(context, request, caller.account.id, path)
        else:
            if path is None:
                raise InvalidRequest("The path is missing.", hint="POST /api/v1/files?path=/input/NAME with the bytes.")
            file = await _store(context, caller.account.id, parse_path(path), request.stream())
        return answer(_shape(await db.write(files.put, file)), 201)

    @routes.get("/files", tags=["files"], summary="List uploaded files")
    async def find(request: Request, prefix: str | None = None) -> Response:
        caller = await context.auth.caller(request)
        return answer([_shape(file) for file in await db.read(files.find, caller.account.id, prefix)])

    @routes.head("/files/{digest}", tags=["files"], summary="Whether the server has these bytes already")
    async def head(request: Request, digest: str) -> Response:
        caller = await context.auth.caller(request)
        size = await db.lookup(files.blob_size, caller.account.id, digest)
        if size is None:
            raise NotFound("These bytes are not here.")
        return Response(headers={"X-File-Size": str(size)})

    @routes.delete("/files", tags=["files"], summary="Delete an uploaded file")
    async def delete(request: Request, path: str) -> Response:
        caller = await context.auth.caller(request)
        await db.write(files.remove, caller.account.id, parse_path(path))
        return Response(status_code=204)


def _add_import_routes(routes: APIRouter, context: Context) -> None:
    db = context.db

    @routes.post(
        "/imports",
        tags=["files"],
        summary="Fetch a file from a URL, to keep",
        description="The server fetches it; a graph that names the file gets it.",
        openapi_extra=schema_of(ImportRequest),
        status_code=202,
    )
    async def add(request: Request) -> Response:
        caller = await context.auth.caller(request)
        body = await read_json(request, ImportRequest, context.settings.body_limit_bytes)
        source = {"url": body.url, "digest": body.digest, "headers": body.headers}
        path, url = parse_import(body.path, {key: value for key, value in source.items() if value})
        return answer({"id": await context.imports.add(caller.account.id, path, url)}, 202)

    @routes.get("/imports", tags=["files"], summary="Imports that are not done")
    async def find(request: Request) -> Response:
        caller = await context.auth.caller(request)
        found = await db.read(imports.find, caller.account.id)
        return answer([_import_shape(each) for each in found])

    @routes.delete("/imports/{import_id}", tags=["files"], summary="Stop or forget an import")
    async def delete(request: Request, import_id: str) -> Response:
        caller = await context.auth.caller(request)
        await db.write(imports.remove, caller.account.id, import_id)
        context.imports.changed()
        return Response(status_code=204)


def _add_offer_routes(routes: APIRouter, context: Context) -> None:
    @routes.get("/accelerators", tags=["offers"], summary="Accelerators that runs can ask for")
    async def accelerators(request: Request) -> Response:
        await context.auth.caller(request)
        prices = context.settings.prices
        return answer(
            [
                {
                    "name": pool.name,
                    "aliases": pool.aliases,
                    "stands_in_for": pool.stands_in_for,
                    "device": pool.device,
                    "workers": pool.workers,
                    "credits_per_second": prices.get(pool.name, 0.0),
                }
                for pool in await context.inventory.pools()
            ]
        )

    @routes.get("/models", tags=["offers"], summary="Models that graphs can name without bringing them")
    async def models(request: Request, folder: str | None = None) -> Response:
        caller = await context.auth.caller(request)
        catalog = await context.inventory.catalog() or Catalog()
        found = catalog.models_with(await context.db.read(files.usable_paths, caller.account.id))
        return answer({kind: names for kind, names in found.items() if folder in (None, kind)})

    @routes.get("/nodes", tags=["offers"], summary="Node classes that graphs can use")
    async def nodes(request: Request) -> Response:
        await context.auth.caller(request)
        catalog = await context.inventory.catalog()
        return answer([] if catalog is None else [_node_summary(name, info) for name, info in catalog.nodes.items()])

    @routes.get("/nodes/{class_type}", tags=["offers"], summary="A node class with its inputs")
    async def node(request: Request, class_type: str) -> Response:
        await context.auth.caller(request)
        catalog = await context.inventory.catalog()
        if catalog is None or class_type not in catalog.nodes:
            raise NotFound(f"There is no node class '{class_type}'.", hint="See GET /api/v1/nodes.")
        return answer(catalog.nodes[class_type])


def _add_account_routes(routes: APIRouter, context: Context) -> None:
    db = context.db

    @routes.get("/me", tags=["account"], summary="The account behind the key")
    async def me(request: Request) -> Response:
        caller = await context.auth.caller(request)
        account = await db.lookup(accounts.by_id, caller.account.id)
        used = await db.read(accounts.used_credits, [account.id])
        return answer(
            {
                "id": account.id,
                "name": account.name,
                "role": account.role,
                "api_key_id": caller.api_key_id,
                "credit_limit": account.credit_limit,
                "credits_used": used.get(account.id, 0.0),
                "created_at": iso(account.created_at),
            }
        )

    @routes.get("/usage", tags=["account"], summary="GPU time and credits used")
    async def usage(request: Request, which: Annotated[_UsageQuery, Query()]) -> Response:
        caller = await context.auth.caller(request)
        today = datetime.datetime.now(datetime.UTC).date()
        since = which.since or today - datetime.timedelta(days=DEFAULT_USAGE_DAYS)
        until = which.until or today
        group = _GROUPS[which.by]
        rows = await db.read(accounts.usage_by, caller.account.id, group, since.isoformat(), until.isoformat())
        return answer(
            {
                "since": since.isoformat(),
                "until": until.isoformat(),
                "by": which.by,
                "rows": [
                    {which.by: row.group, "runs": row.runs, "gpu_ms": row.gpu_ms, "credits": row.credits}
                    for row in rows
                ],
                "total": {
                    "runs": sum(row.runs for row in rows),
                    "gpu_ms": sum(row.gpu_ms for row in rows),
                    "credits": sum(row.credits for row in rows),
                },
            }
        )

    @routes.get("/webhooks/secret", tags=["webhooks"], summary="The secret that signs this account's webhooks")
    async def secret(request: Request) -> Response:
        caller = await context.auth.caller(request)
        account = await db.lookup(accounts.by_id, caller.account.id)
        return answer({"secret": account.webhook_secret})

    @routes.get("/webhooks/deliveries", tags=["webhooks"], summary="Webhook deliveries, newest first")
    async def deliveries(
        request: Request, run: str | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100
    ) -> Response:
        caller = await context.auth.caller(request)
        shapes = Shapes(context.auth, context.base_url(request))
        found = await db.read(webhooks.find, caller.account.id, run, limit)
        return answer([shapes.delivery(delivery) for delivery in found])

    @routes.post("/webhooks/deliveries/{delivery_id}/resend", tags=["webhooks"], summary="Send a delivery again")
    async def resend(request: Request, delivery_id: str) -> Response:
        caller = await context.auth.caller(request)
        await context.webhooks.resend(caller.account.id, delivery_id)
        return answer({"id": delivery_id, "state": "pending"}, 202)


class _UsageQuery(BaseModel):
    by: Literal["day", "accelerator", "workflow", "key"] = "day"
    since: datetime.date | None = Field(None, description=f"First day; default {DEFAULT_USAGE_DAYS} days ago.")
    until: datetime.date | None = Field(None, description="Last day; default today (UTC).")


_GROUPS: dict[str, accounts.UsageGroup] = {
    "day": "day",
    "accelerator": "accelerator",
    "workflow": "workflow_id",
    "key": "api_key_id",
}


async def _from_digest(context: Context, request: Request, account_id: str) -> StoredFile:
    known = await read_json(request, KnownFile, context.settings.body_limit_bytes)
    digest = known.digest.removeprefix("blake3:")
    size = await context.db.lookup(files.blob_size, account_id, digest)
    if size is None:
        raise NotFound("These bytes are not here.", hint="Upload them with POST /api/v1/files?path=PATH.")
    return _named(account_id, parse_path(known.path), digest, size)


async def _from_form(context: Context, request: Request, account_id: str, path: str | None) -> StoredFile:
    async with read_upload(request, context.settings.upload_limit_bytes) as form:
        upload, given = form.get("file"), form.get("path")
        if not isinstance(upload, UploadFile):
            raise InvalidRequest("The form has no field 'file'.", hint="curl -F file=@a.png -F path=/input/a.png …")
        wanted = (
            path
            or (given if isinstance(given, str) else None)
            or (f"/input/{upload.filename}" if upload.filename else None)
        )
        if wanted is None:
            raise InvalidRequest("The form's file has no name.", hint="Say where it is to lie: -F path=/input/a.png.")
        return await _store(context, account_id, parse_path(wanted), pieces_of(upload))


async def _store(context: Context, account_id: str, path: str, chunks: AsyncIterator[bytes]) -> StoredFile:
    blob = await context.blobs.put_stream(chunks, limit=context.settings.upload_limit_bytes, name=path)
    return _named(account_id, path, blob.digest, blob.size)


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


def _import_shape(each: Import) -> dict[str, Any]:
    return {
        "id": each.id,
        "path": each.path,
        "url": each.source["url"],
        "state": each.state,
        "done": each.done_bytes,
        "total": each.total_bytes,
        "error": each.failure,
        "created_at": iso(each.created_at),
    }


def _node_summary(name: str, info: dict[str, Any]) -> dict[str, Any]:
    shown = ("display_name", "category", "description", "output_node", "python_module")
    return {"name": name, **{key: info.get(key) for key in shown}}
