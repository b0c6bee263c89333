"""A route of our own for the editor: models that a graph names are fetched into the account's files."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.body import answer, read_json
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.native.models import Import, ImportBegun
from comfyward.api.native.scope import Scopes
from comfyward.dispatch import imports as dispatch
from comfyward.runs.files import parse_import
from comfyward.store import imports
from comfyward.store.db import Database

BODY_LIMIT_BYTES = 1 << 16


class ImportRequest(BaseModel):
    model_config = ConfigDict(strict=True)

    url: str = Field(max_length=4000)
    path: str = Field(max_length=1000)


class Imports:
    def __init__(self, db: Database, scopes: Scopes, fetcher: dispatch.Imports) -> None:
        self._db, self._scopes, self._fetcher = db, scopes, fetcher

    def endpoints(self) -> list[Endpoint]:
        begun = Models(body=ImportRequest, answer=ImportBegun, status=202)
        return [
            Endpoint("POST", "/comfyward/imports", self.add, "Fetch a model", begun),
            Endpoint("GET", "/comfyward/imports", self.find, "List fetches", Models(answer=list[Import])),
        ]

    async def add(self, request: Request) -> Response:
        scope = await self._scopes.of(request)
        body = await read_json(request, ImportRequest, BODY_LIMIT_BYTES)
        path, url = parse_import(body.path, {"url": body.url})
        return answer({"id": await self._fetcher.add(scope.account_id, path, url)}, 202)

    async def find(self, request: Request) -> Response:
        scope = await self._scopes.of(request)
        found = await self._db.read(imports.find, scope.account_id)
        return answer([_shape(each) for each in found])


def _shape(each: imports.Import) -> dict[str, Any]:
    return {
        "id": each.id,
        "state": each.state,
        "error": each.failure,
        "done": each.done_bytes,
        "total": each.total_bytes,
    }
