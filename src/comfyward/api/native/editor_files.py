"""The files beside the page of ComfyUI's editor: ours, its templates, and its own."""

from __future__ import annotations

import functools
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.body import Kept
from comfyward.api.contents import OCTET_STREAM
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.native.bundle import Bundle
from comfyward.api.native.free_templates import free, is_index

OURS = Path(__file__).parent / "editor"  # our additions to the editor
PAGE = "index.html"
JAVASCRIPT = "text/javascript"
LANGUAGES = 32  # of the list of templates that are kept
PICTURES = (".webp", ".png", ".jpg", ".gif")


class EditorFiles:
    """Serves them to everybody: they are the same for all accounts."""

    def __init__(self, editor: Bundle | None, templates: Bundle | None) -> None:
        self._editor, self._templates = editor, templates
        self._ours = {path.name: Kept.of(path.read_bytes()) for path in OURS.glob("*.*s")}
        self._index = functools.lru_cache(LANGUAGES)(self._free_index)

    def endpoints(self) -> list[Endpoint]:
        """All of them, the editor's own at whatever path is left."""
        if self._editor is None:
            return self.named()
        other = Endpoint("GET", "/{name:path}", self._editor.redirect, "A file of the editor", _open(OCTET_STREAM))
        return [*self.named(), other]

    def named(self) -> list[Endpoint]:
        """Those that have paths of their own."""
        table = [
            Endpoint("GET", "/user.css", self.css, "Styles of the editor", _open("text/css")),
            Endpoint("GET", "/favicon.ico", self.icon, "No icon", Models(status=204, needs_key=False)),
            Endpoint("GET", "/extensions/comfyward/{name}", self.ours, "Our script", _open(JAVASCRIPT)),
        ]
        if self._templates is not None:
            table.append(
                Endpoint("GET", "/templates/{name:path}", self.template, "A template", _open("application/json"))
            )
        return table

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
        if is_index(name) and self._templates.has(name):
            return self._index(name).answer(request, "application/json")
        if name.endswith(PICTURES) and not self._templates.has(name):
            picture = (OURS / "template.svg").read_bytes()
            return Response(picture, media_type="image/svg+xml", headers={"Cache-Control": "max-age=86400"})
        return await self._templates.redirect(request)

    def _free_index(self, name: str) -> Kept:
        assert self._templates is not None
        return Kept.of(free((self._templates.folder / name).read_bytes()))


def owner_tag(account: str) -> str:
    """The tag that tells the guard whose editor this is, by a name that tells nothing else of the account."""
    return f'<meta name="comfyward-account" content="{account}">'


def guard() -> str:
    """The script that runs before the editor's own."""
    return (OURS / "guard.js").read_text()


def _open(media_type: str) -> Models:
    """The answer of a route that needs no key."""
    return Models(answer=media_type, needs_key=False)
