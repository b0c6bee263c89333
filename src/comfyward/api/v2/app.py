"""/api/v2: Comfy API v2, for which the official SDKs are written (specification: docs.comfy.org/openapi-v2.yaml).

It translates: a job is a run under its prompt id, an asset is a file of the account.
"""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from comfyward import __version__
from comfyward.api.body import answer
from comfyward.api.context import Context
from comfyward.api.endpoint import Endpoint, Models, Tables, routes
from comfyward.api.limits import RequestLimits
from comfyward.api.v2.assets import Assets
from comfyward.api.v2.errors import ERRORS
from comfyward.api.v2.jobs import Jobs
from comfyward.api.v2.models import Health
from comfyward.api.v2.shapes import Rendering
from comfyward.ids import new_id

PREFIX = "/api/v2"
HEALTH = Models(answer=Health, needs_key=False)


def v2_tables(context: Context) -> Tables:
    """All of Comfy API v2."""
    settings, db, auth = context.settings, context.db, context.auth
    rendering = Rendering(auth, context.public_url, settings.retention_days)
    limits = RequestLimits(settings.body_limit_bytes, settings.upload_limit_bytes)
    subjects = {
        "v2: jobs": Jobs(db, auth, context.intake, context.hub, rendering, limits.body).endpoints(),
        "v2: assets": Assets(db, auth, context.blobs, context.contents, rendering, limits).endpoints(),
        "v2: health": [Endpoint("GET", "/health", _health, "The server is up", HEALTH)],
    }
    return Tables(PREFIX, ERRORS, subjects)


def mount(tables: Tables) -> Mount:
    """All paths below the prefix; unknown ones are answered in the API's own form too."""
    middleware = [Middleware(RequestIds)]
    app = Starlette(routes=routes(tables.endpoints()), exception_handlers=ERRORS.handlers(), middleware=middleware)
    return Mount(tables.prefix, app)


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
    return answer({"status": "healthy", "version": __version__})
