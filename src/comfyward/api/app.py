"""The HTTP application: every API and the website, with errors in the form that their reader expects."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount
from starlette.types import ASGIApp

from comfyward.api import fleet
from comfyward.api.context import Context
from comfyward.api.cors import Cors
from comfyward.api.endpoint import Tables, routes
from comfyward.api.errors import ErrorFormat
from comfyward.api.gateway import app as gateway
from comfyward.api.health import Health
from comfyward.api.metrics import Metrics
from comfyward.api.native.app import native_app, native_parts
from comfyward.api.native.frontend import Frontends
from comfyward.api.reference import Reference
from comfyward.api.v1.app import v1_tables
from comfyward.api.v1.errors import ERRORS
from comfyward.api.v2.app import mount as mount_v2
from comfyward.api.v2.app import v2_tables
from comfyward.errors import ComfywardError

ProblemPage = Callable[[Request, ComfywardError], Awaitable[Response]]

# Programs ask here, whatever they accept.
NOT_FOR_PEOPLE = re.compile(r"/(api|worker|fleet/v1|comfy|workflows/[^/]+/comfy)(/|$)")


@dataclass(frozen=True)
class Website:
    """The website's routes, and its page for errors."""

    routes: Sequence[BaseRoute]
    problem: ProblemPage


def create_app(context: Context, frontends: Frontends, site: Website) -> ASGIApp:
    """The server's application. Routes that are on every run's way come first."""
    v1, v2, health = v1_tables(context), v2_tables(context), _health_tables(context)
    parts = native_parts(context, frontends)
    native = native_app(parts)
    described = [v1, v2, *parts.tables("/comfy"), health]
    app = Starlette(
        routes=[
            gateway.mount(gateway.gateway_parts(context)),
            mount_v2(v2),
            *v1.routes(),
            fleet.mount(fleet.fleet_parts(context)),
            *frontends.routes(),
            Mount("/comfy", native),
            Mount("/workflows/{workflow_id}/comfy", native),
            *site.routes,
            *health.routes(),
            *routes(Reference(described, ERRORS).endpoints()),
        ],
        exception_handlers=PagesForPeople(ERRORS, site.problem).handlers(),
    )
    return Cors(app, context.settings.cors_origins)


def _health_tables(context: Context) -> Tables:
    health = Health(context.readiness)
    metrics = Metrics(context.db, context.inventory)
    return Tables("", ERRORS, {"health": [*health.endpoints(), *metrics.endpoints()]})


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
