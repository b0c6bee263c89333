"""What the editor asks of us alone: models that a graph names are fetched into the account's files."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from comfyward.api.body import answer, read_json
from comfyward.api.context import Context
from comfyward.api.native.scope import Scopes
from comfyward.runs.files import parse_import
from comfyward.store import imports

BODY_LIMIT_BYTES = 1 << 16


class _Wanted(BaseModel):
    model_config = ConfigDict(strict=True)

    url: str = Field(max_length=4000)
    path: str = Field(max_length=1000)


class Imports:
    def __init__(self, context: Context, scopes: Scopes) -> None:
        self._context, self._scopes = context, scopes

    def routes(self) -> list[Route]:
        return [
            Route("/comfyward/imports", self.add, methods=["POST"]),
            Route("/comfyward/imports", self.find, methods=["GET"]),
        ]

    async def add(self, request: Request) -> Response:
        scope = await self._scopes.of(request)
        body = await read_json(request, _Wanted, BODY_LIMIT_BYTES)
        path, url = parse_import(body.path, {"url": body.url})
        return answer({"id": await self._context.imports.add(scope.account_id, path, url)}, 202)

    async def find(self, request: Request) -> Response:
        scope = await self._scopes.of(request)
        found = await self._context.db.read(imports.find, scope.account_id)
        return answer([_shape(each) for each in found])


def _shape(each: imports.Import) -> dict[str, Any]:
    return {
        "id": each.id,
        "state": each.state,
        "error": each.failure,
        "done": each.done_bytes,
        "total": each.total_bytes,
    }
