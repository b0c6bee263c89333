"""Lets web pages of other sites call the APIs: those of the origins that the operator lists, and only with a key.

No answer ever allows credentials, so a browser sends no cookie with such a call: the website's session stays its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ANY = "*"
METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"
EXPOSED = (
    "Accept-Ranges, Content-Disposition, Content-Length, Content-Range, ETag, Link, Location, Retry-After, "
    "Tus-Extension, Tus-Max-Size, Tus-Resumable, Tus-Version, Upload-Length, Upload-Offset, WWW-Authenticate, "
    "X-Comfy-Request-Id, X-File-Size, X-Next-Cursor"
)
MAX_AGE_S = "600"
APIS = re.compile(r"/api(/.*)?|/comfy(/.*)?|/workflows/[^/]+/comfy(/.*)?")
_HEADER_NAMES = re.compile(r"[\w!#$%&'*+.^`|~, -]{1,4000}", re.ASCII)


class Cors:
    """Answers preflights and lets listed origins read the answers, on these `paths` (None: on all)."""

    def __init__(self, app: ASGIApp, origins: Sequence[str], paths: re.Pattern[str] | None = APIS) -> None:
        self._app, self._origins, self._paths = app, frozenset(origins), paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (not self._origins and scope["method"] != "OPTIONS"):
            return await self._app(scope, receive, send)
        if self._paths is not None and not self._paths.fullmatch(scope["path"]):
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        if scope["method"] == "OPTIONS" and origin and "access-control-request-method" in headers:
            return await self._preflight(headers, origin)(scope, receive, send)

        async def with_permission(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._permit(MutableHeaders(scope=message), origin)
            await send(message)

        await self._app(scope, receive, with_permission)

    def _preflight(self, headers: Headers, origin: str) -> Response:
        allowed = self._allowed(origin)
        if allowed is None:
            text = (
                f"Pages of {origin[:200]} may not call this server. Its operator can list them: COMFYWARD_CORS_ORIGINS."
            )
            return Response(text, 403, {"Vary": "Origin"}, media_type="text/plain")
        permission = {
            "Access-Control-Allow-Origin": allowed,
            "Access-Control-Allow-Methods": METHODS,
            "Access-Control-Max-Age": MAX_AGE_S,
            "Vary": "Origin, Access-Control-Request-Headers",
        }
        wanted = headers.get("access-control-request-headers", "")
        if _HEADER_NAMES.fullmatch(wanted):
            permission["Access-Control-Allow-Headers"] = wanted
        if allowed != ANY and headers.get("access-control-request-private-network") == "true":
            permission["Access-Control-Allow-Private-Network"] = "true"
        return Response(status_code=204, headers=permission)

    def _permit(self, headers: MutableHeaders, origin: str | None) -> None:
        if self._origins and ANY not in self._origins:
            headers.add_vary_header("Origin")
        allowed = self._allowed(origin) if origin else None
        if allowed is not None:
            headers["Access-Control-Allow-Origin"] = allowed
            headers["Access-Control-Expose-Headers"] = EXPOSED

    def _allowed(self, origin: str) -> str | None:
        """The value of Access-Control-Allow-Origin; None for an origin that is not listed."""
        if ANY in self._origins:
            return ANY
        return origin if origin in self._origins else None
