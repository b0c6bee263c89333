"""ComfyUI's own API over the account's runs and files, each route both at /X and at /api/X, as ComfyUI has them."""

from __future__ import annotations

import logging

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route

from comfyward.api.body import answer, read_body
from comfyward.api.context import Context
from comfyward.api.native.assets import Assets
from comfyward.api.native.errors import error
from comfyward.api.native.files import Files
from comfyward.api.native.frontend import Frontend, Frontends
from comfyward.api.native.imports import Imports
from comfyward.api.native.nodes import Nodes
from comfyward.api.native.previews import Previews
from comfyward.api.native.queue import Queue
from comfyward.api.native.scope import Scopes
from comfyward.api.native.socket import Sockets
from comfyward.api.native.tooling import Tooling
from comfyward.api.native.userdata import Userdata
from comfyward.errors import ComfywardError, Unauthenticated

log = logging.getLogger(__name__)


def native_app(context: Context, frontends: Frontends, *, is_open: bool = False) -> Starlette:
    """An application with ComfyUI's routes, to be mounted anywhere, or served at the root of a port of its own."""
    scopes = Scopes(context, is_open=is_open)
    parts = (Queue, Files, Previews, Nodes, Userdata, Imports, Tooling)
    routes: list[BaseRoute] = [route for part in parts for route in part(context, scopes).routes()]
    routes += Sockets(context, scopes).routes()
    return Starlette(
        routes=[
            *routes,
            Mount("/api", routes=[*routes, *Assets(context, scopes).routes()]),
            *_internal_routes(scopes),
            *Frontend(context, scopes, frontends).routes(),
        ],
        exception_handlers={
            ComfywardError: _refused,
            HTTPException: _http,
            ClientDisconnect: _gone,
            Exception: _unexpected,
        },
    )


def _internal_routes(scopes: Scopes) -> list[Route]:
    """What the editor and some clients ask of ComfyUI's insides; there is no log or folder of this server to show."""

    async def logs(request: Request) -> Response:
        await scopes.of(request)
        return answer({"entries": [], "size": {"cols": 80, "rows": 24}})

    async def text_logs(request: Request) -> Response:
        await scopes.of(request)
        return answer("")

    async def nothing(request: Request) -> Response:
        await scopes.of(request)
        await read_body(request, 1 << 20)
        return Response()

    async def no_files(request: Request) -> Response:
        await scopes.of(request)
        return answer([])

    return [
        Route("/internal/logs", text_logs, methods=["GET"]),
        Route("/internal/logs/raw", logs, methods=["GET"]),
        Route("/internal/logs/subscribe", nothing, methods=["PATCH"]),
        Route("/internal/files/{kind}", no_files, methods=["GET"]),
    ]


async def _refused(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, ComfywardError)
    if problem.status >= 500:
        log.error("%s: %s", problem.code, problem.message, extra={"action": "request_failed"})
    answered = error(problem.code, problem.message, problem.hint or "", status=problem.status)
    if isinstance(problem, Unauthenticated):
        answered.headers["WWW-Authenticate"] = "Bearer"
    return answered


async def _http(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, HTTPException)
    nothing = f"There is nothing at {request.method} {request.scope['path'][:200]}."
    message = nothing if problem.status_code in (404, 405) else str(problem.detail)
    kind = "not_found" if problem.status_code == 404 else "invalid_request"
    return error(kind, message, "", status=problem.status_code)


async def _gone(request: Request, problem: Exception) -> Response:
    return Response(status_code=499)


async def _unexpected(request: Request, problem: Exception) -> Response:
    log.error("unexpected error", exc_info=problem, extra={"action": "request_failed"})
    return error("internal", "Something went wrong in the server; its log has the details.", "", status=500)
