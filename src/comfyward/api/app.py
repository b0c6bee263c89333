"""The HTTP application: routers, error envelopes, health, metrics, documentation."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.requests import Request
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from comfyward import __version__
from comfyward.api import fleet, icu, library, uploads, views
from comfyward.api.context import Context
from comfyward.api.cors import Cors
from comfyward.api.errors import ErrorFormat
from comfyward.api.gateway import app as gateway
from comfyward.api.leniency import parameters
from comfyward.api.metrics import exposition
from comfyward.api.native.app import native_app, native_parts
from comfyward.api.native.frontend import Frontends
from comfyward.api.readiness import NotReady, Ready
from comfyward.api.reference import reference_page
from comfyward.api.v1 import errors as v1
from comfyward.api.v2 import app as v2
from comfyward.errors import ComfywardError, InvalidRequest

DESCRIPTION = """Run ComfyUI workflows on your own machines. Compatible with ComfyICU's API: change the host name.

ComfyICU's API is below `/api/v1` and described here. Comfy API v2, for the official SDKs, is below `/api/v2`
(specification: docs.comfy.org), ComfyUI's own API below `/comfy` and `/workflows/ID/comfy`.

Send your key as `Authorization: Bearer KEY`, or as the password of HTTP Basic. Errors have the form
`{"status": "error", "code", "message", "error", "hint", "details"}`; `code` is stable.
"""

ProblemPage = Callable[[Request, ComfywardError], Awaitable[Response]]

# Programs ask here, whatever they accept.
NOT_FOR_PEOPLE = re.compile(r"/(api|worker|fleet/v1|comfy|workflows/[^/]+/comfy)(/|$)")


@dataclass(frozen=True)
class Website:
    """The website as the application needs it: its routes, and how it tells a person that something is wrong."""

    routes: Sequence[BaseRoute]
    problem: ProblemPage


def create_app(context: Context, frontends: Frontends, site: Website) -> ASGIApp:
    """The server's application: plain routes for what is on every run's way, FastAPI for the documented rest."""
    handlers = PagesForPeople(v1.ERRORS, site.problem).handlers() | {RequestValidationError: _invalid}
    register_url_convertor("path", _AnyPath())
    native = native_app(native_parts(context, frontends))
    app = Starlette(
        routes=[
            gateway.mount(gateway.gateway_parts(context)),
            *icu.hot_routes(context),
            v2.mount(v2.v2_parts(context)),
            fleet.mount(fleet.fleet_parts(context)),
            *frontends.routes(),
            Mount("/comfy", native),
            Mount("/workflows/{workflow_id}/comfy", native),
            *uploads.routes(context),
            *site.routes,
            Mount("/", WithoutEmptyParameters(_documented(context, handlers))),
        ],
        exception_handlers=handlers,
    )
    return Cors(app, context.settings.cors_origins)


class WithoutEmptyParameters:
    """Takes empty parameters out of the query, where they mean the same as none."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "query_string": parameters(scope["query_string"])}
        await self._app(scope, receive, send)


def _documented(context: Context, handlers: dict[Any, Any]) -> FastAPI:
    app = FastAPI(
        title="comfyward",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        strict_content_type=False,
        telemetry={"tracing": False},
        exception_handlers=handlers,
    )
    for module in (icu, library, views):
        app.router.routes.extend(module.router(context).routes)  # flat: a nested router is matched twice
    _add_health(app, context)
    app.router.routes.extend(_heads(app))
    return app


class _AnyPath(PathConvertor):
    """The rest of a path, line breaks in a file's name included."""

    regex = "(?s:.*)"


def _heads(app: FastAPI) -> list[Route]:
    """HEAD wherever there is GET, as plain routes have it; FastAPI would describe each as an operation of its own."""
    found = (route for route in app.routes if isinstance(route, APIRoute) and "GET" in (route.methods or ()))
    return [Route(route.path, _Head(route.app), methods=["HEAD"], include_in_schema=False) for route in found]


@dataclass(frozen=True)
class _Head:
    """A route's application as an object: Starlette would call a function as it calls endpoints."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


def _add_health(app: FastAPI, context: Context) -> None:
    @app.get("/healthz", tags=["health"], summary="The server is up")
    async def healthz() -> dict[str, str]:
        return {"status": "ok", "version": __version__}

    @app.get("/readyz", tags=["health"], summary="200 while requests should be sent here")
    async def readyz() -> Response:
        """With local workers, once one of them is ready; otherwise once the database answers. 503 while stopping."""
        match await context.readiness.check():
            case Ready(present):
                return JSONResponse({"status": "ready", "workers": present})
            case NotReady(status, message):
                return _not_ready(status, message)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        return Response(reference_page(app.openapi()), media_type="text/html", headers=headers)

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(
            await exposition(context.db, await context.inventory.catalog_lately()), media_type=CONTENT_TYPE_LATEST
        )


def _not_ready(status: str, message: str) -> Response:
    return JSONResponse({"status": status, "message": message}, 503, headers={"Retry-After": "2"})


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = [{name: each[name] for name in ("loc", "msg", "type")} for each in error.errors()]
    field = ".".join(str(part) for part in problems[0]["loc"])
    return await v1.ERRORS.answer(request, InvalidRequest(f"'{field}': {problems[0]['msg']}.", fields=problems))


class PagesForPeople(ErrorFormat):
    """Errors as JSON to programs, as a page to a person's browser."""

    def __init__(self, programs: ErrorFormat, page: ProblemPage) -> None:
        super().__init__(programs.spell, programs.model)
        self._page = page

    async def answer(self, request: Request, error: ComfywardError) -> Response:
        if _is_for_people(request):
            return await self._page(request, error)
        return await super().answer(request, error)


def _is_for_people(request: Request) -> bool:
    is_browser = "text/html" in request.headers.get("accept", "") or "hx-request" in request.headers
    return is_browser and NOT_FOR_PEOPLE.match(request.scope["path"]) is None
