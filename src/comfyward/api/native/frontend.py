"""ComfyUI's own editor at the website's origin: its page, and a session for a browser that comes with a key."""

from __future__ import annotations

import functools
import html
from dataclasses import dataclass, replace
from pathlib import Path

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from comfyward.api.auth import enter, refuse_foreign_origin
from comfyward.api.body import Kept, answer
from comfyward.api.editor_address import label_of
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.native.bundle import Bundle
from comfyward.api.native.editor_files import PAGE, EditorFiles, guard, owner_tag
from comfyward.api.native.models import TokenQuery
from comfyward.api.native.scope import Scopes
from comfyward.api.public_url import PublicUrl
from comfyward.errors import Unauthenticated
from comfyward.store import sessions
from comfyward.store.db import Database, now_ms

REMEMBERED = 64
NO_FRONTEND = "ComfyUI's editor is not installed on this server; its API answers here all the same."
# The button posts to the page's own address, which has the key.
ENTER = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Open the editor</title><style>body{{font:16px/1.5 system-ui;max-width:30rem;margin:15vh auto;padding:0 1rem}}
button{{font:inherit;padding:.5rem 1rem}}</style><h1>Open the editor</h1>
<p>This link opens ComfyUI's editor as <b>{name}</b>, and logs this browser in to that account.</p>
<form method="post"><button autofocus>Continue as {name}</button></form></html>
"""
ENTER_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
}


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
        self._files = EditorFiles(frontends.editor, frontends.templates)
        self._editor = frontends.editor
        self._page_for = functools.lru_cache(REMEMBERED)(self._made)

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint("GET", "/", self.index, "The editor", Models(query=TokenQuery, answer="text/html")),
            Endpoint("POST", "/", self.log_in, "Log a browser in by its key", Models(query=TokenQuery, status=303)),
            *self._files.endpoints(),
        ]

    async def index(self, request: Request) -> Response:
        """The page. With `?token=KEY` it asks first: a link may be somebody else's, and must log nobody in."""
        if "token" in request.query_params:
            account = (await self._scopes.of(request)).caller.account
            return Response(ENTER.format(name=html.escape(account.name)), 200, ENTER_HEADERS, "text/html")
        if self._editor is None:
            return answer({"message": NO_FRONTEND})
        try:
            scope = await self._scopes.of(request)
        except Unauthenticated as error:
            return Response(f"{error.message} Open this page once with ?token=YOUR_API_KEY.", 401)
        page = self._page_for(label_of(scope.account_id))
        return page.answer(request, "text/html", {"X-Frame-Options": "SAMEORIGIN"})

    def _made(self, account: str) -> Kept:
        assert self._editor is not None
        return Kept.of(self._editor.page(PAGE, f"{owner_tag(account)}<script>{guard()}</script>").encode())

    async def log_in(self, request: Request) -> Response:
        """The browser gets a session and comes back without the key in its address."""
        refuse_foreign_origin(request)
        scope = await self._scopes.of(request)
        device = request.headers.get("user-agent", "")
        token = await self._db.write(sessions.begin, scope.caller, now_ms(), device)
        url = request.url.remove_query_params("token")
        answered = RedirectResponse(url.path + (f"?{url.query}" if url.query else ""), 303)
        enter(answered, token, secure=self._public_url.of(request).startswith("https://"))
        return answered


def templates_of(package_dir: Path) -> Path | None:
    """The folder of workflows in an unpacked `comfyui-workflow-templates-json`."""
    folder = package_dir / "comfyui_workflow_templates_json" / "templates"
    return folder if (folder / "index.json").is_file() else None


def static_of(package_dir: Path) -> Path | None:
    """The static folder of an unpacked `comfyui-frontend-package`."""
    folder = package_dir / "comfyui_frontend_package" / "static"
    return folder if (folder / "index.html").is_file() else None
