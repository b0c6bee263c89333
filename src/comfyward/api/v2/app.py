"""/api/v2: Comfy API v2, for which the official SDKs are written (specification: docs.comfy.org/openapi-v2.yaml).

It translates: a job is a run under its prompt id, an asset is a file of the account.
"""

from __future__ import annotations

import logging
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from comfyward import __version__
from comfyward.api.context import Context
from comfyward.api.v2 import assets, jobs
from comfyward.errors import (
    ComfywardError,
    InvalidGraph,
    QueueFull,
    TooLarge,
    Unauthenticated,
    UnknownAccelerator,
)
from comfyward.ids import new_id

log = logging.getLogger(__name__)

PREFIX = "/api/v2"
RETRY_AFTER_S = 5


def mount(context: Context) -> Mount:
    """The whole of Comfy API v2; what is not there answers in its own form too."""
    app = Starlette(
        routes=[Route("/health", _health, methods=["GET"]), *jobs.routes(context), *assets.routes(context)],
        exception_handlers={
            ComfywardError: _refused,
            HTTPException: _http,
            ClientDisconnect: _gone,
            Exception: _unexpected,
        },
        middleware=[Middleware(RequestIds)],
    )
    return Mount(PREFIX, app)


class RequestIds:
    """Gives every answer an `X-Comfy-Request-Id`, which the SDKs show with their errors."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = new_id()

        async def with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"x-comfy-request-id", request_id.encode())]}
            await send(message)

        await self._app(scope, receive, with_id)


async def _health(request: Request) -> Response:
    return Response(msgspec.json.encode({"status": "healthy", "version": __version__}), media_type="application/json")


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, ComfywardError)
    match error:
        case Unauthenticated():
            return envelope(401, "unauthorized", error.message, headers={"WWW-Authenticate": "Bearer"})
        case InvalidGraph():
            is_editors = error.details.get("type") == "workflow_format_ui"
            code = "workflow_format_ui" if is_editors else "invalid_workflow"
            return envelope(422, code, _sentence(error), {"node_errors": error.details.get("node_errors", {})})
        case UnknownAccelerator():
            return envelope(429, "deployment_not_ready", _sentence(error), retry_after_s=RETRY_AFTER_S)
        case QueueFull():
            return envelope(429, error.code, _sentence(error), retry_after_s=RETRY_AFTER_S)
        case TooLarge():
            return envelope(413, "payload_too_large", _sentence(error))
        case _ if error.status >= 500:
            return await _unexpected(request, error)
        case _:
            return envelope(error.status, error.code, _sentence(error), error.details or None)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
    nothing = f"There is nothing at {request.method} {request.scope['path'][:200]}."
    message = nothing if error.status_code in (404, 405) else str(error.detail)
    return envelope(error.status_code, code, message, headers=dict(error.headers or {}))


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=499)


async def _unexpected(request: Request, error: Exception) -> Response:
    log.error("unexpected error", exc_info=error, extra={"action": "request_failed"})
    return envelope(500, "upstream_error", "Something went wrong in the server; its log has the details.")


def _sentence(error: ComfywardError) -> str:
    return f"{error.message} {error.hint}" if error.hint else error.message


def envelope(
    status: int,
    code: str,
    message: str,
    details: dict[str, Any] | None = None,
    *,
    retry_after_s: int | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """`{"error": {"code", "message", "details"}}`, the form of every error."""
    headers = {**(headers or {}), **({"Retry-After": str(retry_after_s)} if retry_after_s else {})}
    body = msgspec.json.encode({"error": {"code": code, "message": message, "details": details}}, enc_hook=str)
    return Response(body, status, headers, media_type="application/json")
