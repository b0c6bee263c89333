"""ComfyUI's own editor: the files of its package, and the way in for a browser with a key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from comfyward.api.body import answer
from comfyward.api.context import Context
from comfyward.api.native.scope import COOKIE, Scopes
from comfyward.errors import Unauthenticated
from comfyward.store import sessions
from comfyward.store.db import now_ms

SESSION_LASTS_MS = 30 * 24 * 3600 * 1000
NO_FRONTEND = "ComfyUI's editor is not installed on this server; its API answers here all the same."


class Frontend:
    """`folder` is the static folder of a `comfyui-frontend-package`; None where there is none."""

    def __init__(self, context: Context, scopes: Scopes, folder: Path | None) -> None:
        self._context, self._scopes, self._folder = context, scopes, folder

    def routes(self) -> Sequence[BaseRoute]:
        routes: list[BaseRoute] = [Route("/", self.index, methods=["GET"]), Route("/user.css", self.css)]
        if self._folder is not None:
            routes.append(Mount("/", StaticFiles(directory=self._folder)))
        return routes

    async def index(self, request: Request) -> Response:
        """The page; with `?token=KEY` the browser gets a session and comes back without the key in its address."""
        if "token" in request.query_params:
            scope = await self._scopes.of(request)
            token = await self._context.db.write(sessions.begin, scope.caller, now_ms(), SESSION_LASTS_MS)
            url = request.url.remove_query_params("token")
            answered: Response = RedirectResponse(url.path + (f"?{url.query}" if url.query else ""), 303)
            secure = self._context.base_url(request).startswith("https://")
            answered.set_cookie(
                COOKIE, token, SESSION_LASTS_MS // 1000, httponly=True, samesite="lax", secure=secure, path="/"
            )
            return answered
        if self._folder is None:
            return answer({"message": NO_FRONTEND})
        try:
            await self._scopes.of(request)
        except Unauthenticated as error:
            return Response(f"{error.message} Open this page once with ?token=YOUR_API_KEY.", 401)
        return FileResponse(
            self._folder / "index.html", headers={"Cache-Control": "no-cache", "X-Frame-Options": "SAMEORIGIN"}
        )

    async def css(self, request: Request) -> Response:
        return Response("", media_type="text/css")


@dataclass(frozen=True)
class Frontends:
    """Static folders of ComfyUI's frontend: the newest, which works below any path, and the one that ComfyUI's own
    version asks for, which works at the root of a port only."""

    editor: Path | None = None
    engine: Path | None = None


def static_of(package_dir: Path) -> Path | None:
    """The static folder of an unpacked `comfyui-frontend-package`."""
    folder = package_dir / "comfyui_frontend_package" / "static"
    return folder if (folder / "index.html").is_file() else None
