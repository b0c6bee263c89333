"""ComfyUI's own editor: the files of its package, and the way in for a browser with a key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from comfyward.api.auth import enter
from comfyward.api.body import answer
from comfyward.api.context import Context
from comfyward.api.native.scope import Scopes
from comfyward.errors import Unauthenticated
from comfyward.store import sessions
from comfyward.store.db import now_ms

NO_FRONTEND = "ComfyUI's editor is not installed on this server; its API answers here all the same."


@dataclass(frozen=True)
class Frontends:
    """Folders of ComfyUI's packages, None for those that are not here: the static folder of the newest editor, which
    works below any path; that of the one that ComfyUI's own version asks for, which works at the root of a port only;
    and its workflow templates."""

    editor: Path | None = None
    engine: Path | None = None
    templates: Path | None = None

    def at_root(self) -> Frontends:
        """The ones to serve at the root of a port."""
        return replace(self, editor=self.engine or self.editor)


class Frontend:
    """Serves the editor and the templates that it offers."""

    def __init__(self, context: Context, scopes: Scopes, frontends: Frontends) -> None:
        self._context, self._scopes = context, scopes
        self._folder, self._templates = frontends.editor, frontends.templates

    def routes(self) -> Sequence[BaseRoute]:
        routes: list[BaseRoute] = [Route("/", self.index, methods=["GET"]), Route("/user.css", self.css)]
        if self._templates is not None:
            routes.append(Mount("/templates", StaticFiles(directory=self._templates)))
        if self._folder is not None:
            routes.append(Mount("/", StaticFiles(directory=self._folder)))
        return routes

    async def index(self, request: Request) -> Response:
        """The page; with `?token=KEY` the browser gets a session and comes back without the key in its address."""
        if "token" in request.query_params:
            scope = await self._scopes.of(request)
            device = request.headers.get("user-agent", "")
            token = await self._context.db.write(sessions.begin, scope.caller, now_ms(), device)
            url = request.url.remove_query_params("token")
            answered: Response = RedirectResponse(url.path + (f"?{url.query}" if url.query else ""), 303)
            enter(answered, token, secure=self._context.base_url(request).startswith("https://"))
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


def templates_of(package_dir: Path) -> Path | None:
    """The folder of workflows in an unpacked `comfyui-workflow-templates-json`."""
    folder = package_dir / "comfyui_workflow_templates_json" / "templates"
    return folder if (folder / "index.json").is_file() else None


def static_of(package_dir: Path) -> Path | None:
    """The static folder of an unpacked `comfyui-frontend-package`."""
    folder = package_dir / "comfyui_frontend_package" / "static"
    return folder if (folder / "index.html").is_file() else None
