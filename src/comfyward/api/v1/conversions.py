"""Workflows of ComfyUI's editor as graphs of its API, in v1."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from comfyward.api import leniency
from comfyward.api.auth import Auth
from comfyward.api.body import answer, owner_of, read_json
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.limits import RequestLimits
from comfyward.api.v1 import answers
from comfyward.dispatch.bindings import Bindings
from comfyward.dispatch.conversion import converted


class ConversionRequest(leniency.Request):
    workflow: dict[str, Any] = Field(description="A workflow as ComfyUI's editor saves it.")
    environment: str | None = Field(
        None, max_length=120, description="Whose node classes count: `default`, `NAME`, or `NAME@REVISION`."
    )


class Conversions:
    def __init__(self, auth: Auth, bindings: Bindings, limits: RequestLimits) -> None:
        self._auth, self._bindings, self._limits = auth, bindings, limits

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                "POST",
                "/workflows/convert",
                self.convert,
                "The API's graph of a workflow of ComfyUI's editor; no run is made",
                Models(body=ConversionRequest, answer=answers.Conversion),
            )
        ]

    async def convert(self, request: Request) -> Response:
        """Raises InvalidGraph, UnknownClasses, InvalidEnvironment, TooLarge, Unavailable."""
        await self._auth.caller(request)
        body = await read_json(request, ConversionRequest, self._limits.body)
        catalog = await self._bindings.catalog(body.environment or "")
        graph = await converted(owner_of(request), body.workflow, self._limits.graph, [catalog])
        return answer({"prompt": graph.prompt})
