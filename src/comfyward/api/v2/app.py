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
from comfyward.api.endpoint import Models, Tables, routes
from comfyward.api.v2.errors import ERRORS
from comfyward.api.v2.models import Health
from comfyward.ids import new_id

PREFIX = "/api/v2"
HEALTH = Models(answer=Health, needs_key=False)


def mount_v2(tables: Tables) -> Mount:
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


async def health(request: Request) -> Response:
    return answer({"status": "healthy", "version": __version__})
