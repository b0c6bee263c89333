"""ComfyUI's own editor: its page, its files and templates, and a session for a browser that comes with a key."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from comfyward.api.auth import enter
from comfyward.api.body import Kept, answer
from comfyward.api.contents import OCTET_STREAM
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.native.bundle import Bundle
from comfyward.api.native.models import TokenQuery
from comfyward.api.native.scope import Scopes
from comfyward.api.public_url import PublicUrl
from comfyward.errors import Unauthenticated
from comfyward.store import sessions
from comfyward.store.db import Database, now_ms

OURS = Path(__file__).parent / "editor"  # our additions to the editor
NO_FRONTEND = "ComfyUI's editor is not installed on this server; its API answers here all the same."
PAGE = "index.html"
JAVASCRIPT = "text/javascript"
PICTURES = (".webp", ".png", ".jpg", ".gif")


@dataclass(frozen=True)
class Frontends:
    """ComfyUI's packages for browsers; None for those that are not installed.

    `editor` is the newest one, which works below any path, `engine` the one that ComfyUI's own version asks for, which
    works at the root of a port only.
    """

    editor: Bundle | None = None
    engine: Bundle | None = None
    templates: Bundle | None = None

    @property
    def templates_folder(self) -> Path | None:
        return self.templates.folder if self.templates else None

    def at_root(self) -> Frontends:
        """The packages to serve at the root of a port."""
        return replace(self, editor=self.engine or self.editor)

    def routes(self) -> list[BaseRoute]:
        """The addresses that all pages of a port share."""
        return [bundle.endpoint().route() for bundle in (self.editor, self.templates) if bundle]


class Frontend:
    """Serves the editor and its templates."""

    def __init__(self, db: Database, scopes: Scopes, public_url: PublicUrl, frontends: Frontends) -> None:
        self._db, self._scopes, self._public_url = db, scopes, public_url
        self._editor, self._templates = frontends.editor, frontends.templates
        guard = (OURS / "guard.js").read_text()
        self._page = Kept.of(self._editor.page(PAGE, f"<script>{guard}</script>").encode()) if self._editor else None
        self._ours = {path.name: Kept.of(path.read_bytes()) for path in OURS.glob("*.*s")}

    def endpoints(self) -> list[Endpoint]:
        table = [
            Endpoint("GET", "/", self.index, "The editor", Models(query=TokenQuery, answer="text/html")),
            Endpoint("GET", "/user.css", self.css, "Styles of the editor", _open("text/css")),
            Endpoint("GET", "/favicon.ico", self.icon, "No icon", Models(status=204, needs_key=False)),
            Endpoint("GET", "/extensions/comfyward/{name}", self.ours, "Our script", _open(JAVASCRIPT)),
        ]
        if self._templates is not None:
            table.append(
                Endpoint("GET", "/templates/{name:path}", self.template, "A template", _open("application/json"))
            )
        if self._editor is not None:
            table.append(
                Endpoint("GET", "/{name:path}", self._editor.redirect, "A file of the editor", _open(OCTET_STREAM))
            )
        return table

    async def index(self, request: Request) -> Response:
        """The page; with `?token=KEY` the browser gets a session and comes back without the key in its address."""
        if "token" in request.query_params:
            scope = await self._scopes.of(request)
            device = request.headers.get("user-agent", "")
            token = await self._db.write(sessions.begin, scope.caller, now_ms(), device)
            url = request.url.remove_query_params("token")
            answered: Response = RedirectResponse(url.path + (f"?{url.query}" if url.query else ""), 303)
            enter(answered, token, secure=self._public_url.of(request).startswith("https://"))
            return answered
        if self._page is None:
            return answer({"message": NO_FRONTEND})
        try:
            await self._scopes.of(request)
        except Unauthenticated as error:
            return Response(f"{error.message} Open this page once with ?token=YOUR_API_KEY.", 401)
        return self._page.answer(request, "text/html", {"X-Frame-Options": "SAMEORIGIN"})

    async def icon(self, request: Request) -> Response:
        """Browsers ask for one if a page names none."""
        return Response(status_code=204, headers={"Cache-Control": "max-age=86400"})

    async def css(self, request: Request) -> Response:
        """The editor's own place for the styles of its server."""
        return self._ours["ours.css"].answer(request, "text/css")

    async def ours(self, request: Request) -> Response:
        """The editor's own place for extensions."""
        found = self._ours.get(request.path_params["name"])
        return found.answer(request, JAVASCRIPT) if found else Response("There is no such file.", 404)

    async def template(self, request: Request) -> Response:
        """A template. Their pictures, hundreds of megabytes in other packages, are replaced by one."""
        assert self._templates is not None
        name = request.path_params["name"]
        if name.endswith(PICTURES) and not self._templates.has(name):
            picture = (OURS / "template.svg").read_bytes()
            return Response(picture, media_type="image/svg+xml", headers={"Cache-Control": "max-age=86400"})
        return await self._templates.redirect(request)


def _open(media_type: str) -> Models:
    """The answer of a route that needs no key."""
    return Models(answer=media_type, needs_key=False)


def templates_of(package_dir: Path) -> Path | None:
    """The folder of workflows in an unpacked `comfyui-workflow-templates-json`."""
    folder = package_dir / "comfyui_workflow_templates_json" / "templates"
    return folder if (folder / "index.json").is_file() else None


def static_of(package_dir: Path) -> Path | None:
    """The static folder of an unpacked `comfyui-frontend-package`."""
    folder = package_dir / "comfyui_frontend_package" / "static"
    return folder if (folder / "index.html").is_file() else None
