"""Imports of v1: files that the server fetches from a URL and stores."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from comfyward.api import leniency
from comfyward.api.auth import Auth
from comfyward.api.body import answer, read_json
from comfyward.api.endpoint import NOTHING, Endpoint, Models
from comfyward.api.times import iso
from comfyward.api.v1 import answers
from comfyward.dispatch.imports import Imports as Importer
from comfyward.runs.files import parse_import
from comfyward.store import imports
from comfyward.store.db import Database
from comfyward.store.imports import Import


class ImportRequest(leniency.Request):
    """A file to fetch."""

    path: str = Field(description="Where graphs find it, e.g. /models/loras/style.safetensors.")
    url: str = Field(description="An http(s) URL, or any address of a file at Hugging Face or Civitai, or an AIR.")
    digest: str | None = Field(None, description="blake3 or sha256 that the file must have.")
    headers: dict[str, str] | None = Field(None, description="Sent to the URL's own host only.")


class Imports:
    def __init__(self, auth: Auth, db: Database, importer: Importer, body_limit_bytes: int) -> None:
        self._auth, self._db, self._importer, self._limit = auth, db, importer, body_limit_bytes

    def endpoints(self) -> list[Endpoint]:
        accepted = Models(
            body=ImportRequest,
            answer=answers.Created,
            status=202,
            description="The server fetches it; a graph that names the file gets it.",
        )
        listed = Models(answer=list[answers.Import])
        return [
            Endpoint("POST", "/imports", self.create, "Fetch a file from a URL, to keep", accepted),
            Endpoint("GET", "/imports", self.find, "Imports that are not done", listed),
            Endpoint("DELETE", "/imports/{import_id}", self.delete, "Stop or forget an import", NOTHING),
        ]

    async def create(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        body = await read_json(request, ImportRequest, self._limit)
        source = {"url": body.url, "digest": body.digest, "headers": body.headers}
        path, url = parse_import(body.path, {key: value for key, value in source.items() if value})
        return answer({"id": await self._importer.add(caller.account.id, path, url)}, 202)

    async def find(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        return answer([_shape(each) for each in await self._db.read(imports.find, caller.account.id)])

    async def delete(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        await self._db.write(imports.remove, caller.account.id, request.path_params["import_id"])
        self._importer.changed()
        return Response(status_code=204)


def _shape(each: Import) -> dict[str, Any]:
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
