"""ComfyUI's editor in a frame of the website's page, on an origin of its own."""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import json
import re

from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.body import Kept
from comfyward.api.editor_address import label_of
from comfyward.api.endpoint import Endpoint
from comfyward.api.native.editor_files import PAGE, EditorFiles, guard, owner_tag
from comfyward.api.native.frontend import NO_FRONTEND, Frontends
from comfyward.api.native.pack_files import PackFiles
from comfyward.api.native.scope import Scopes
from comfyward.api.sealed import policy
from comfyward.errors import Forbidden

# The page's frame has the same attribute. Without allow-top-navigation and allow-popups: our page opens what is asked.
SANDBOX = "allow-scripts allow-same-origin allow-forms allow-downloads allow-modals allow-pointer-lock"
REMEMBERED = 64
# Beside those of packs: ours, and the editor's own, which has one address for all workflows.
NOT_OF_PACKS = ("./extensions/comfyward/", "./extensions/core/")
_INLINE = re.compile(r'<script(?: type="importmap")?>(.*?)</script>', re.DOTALL)


class FramedEditor:
    """Serves the editor to frames with a ticket."""

    def __init__(self, scopes: Scopes, frontends: Frontends, packs: PackFiles) -> None:
        self._scopes, self._editor, self._packs = scopes, frontends.editor, packs
        self._files = EditorFiles(frontends.editor, frontends.templates)
        self._page_for = functools.lru_cache(REMEMBERED)(self._made)

    def endpoints(self) -> list[Endpoint]:
        return [Endpoint("GET", "/", self.index, "The editor"), *self._files.named(), *self._packs.others()]

    async def index(self, request: Request) -> Response:
        """The page, in a frame of the website's page alone."""
        scope = await self._scopes.of(request)
        if request.headers.get("sec-fetch-dest", "iframe") != "iframe":
            raise Forbidden("The editor opens on a workflow's page only.", hint="Open the workflow on the website.")
        if self._editor is None:
            return Response(NO_FRONTEND, 404)
        place = await self._packs.kept_place(request)
        page, headers = self._page_for(request.state.ticket.page_origin, label_of(scope.account_id), place)
        return page.answer(request, "text/html", headers)

    def _made(self, page_origin: str, account: str, place: str) -> tuple[Kept, dict[str, str]]:
        """The page for frames of pages of this origin, and its policy. `place` is that of packs' files, or empty."""
        assert self._editor is not None
        meta = f'<meta name="comfyward-page" content="{html.escape(page_origin)}">{owner_tag(account)}'
        imports = f'<script type="importmap">{imports_of(place)}</script>' if place else ""
        text = self._editor.page(PAGE, f"{meta}<script>{guard()}</script>{imports}")
        # What the browser hashes: its parser turns line ends of Windows into plain ones.
        inline = [found.replace("\r\n", "\n") for found in _INLINE.findall(text)]
        scripts = [f"'sha256-{base64.b64encode(hashlib.sha256(each.encode()).digest()).decode()}'" for each in inline]
        headers = {"Content-Security-Policy": policy(page_origin, scripts, sandbox=SANDBOX)}
        return Kept.of(text.encode()), headers


def imports_of(place: str) -> str:
    """The map of imports by which scripts of packs have an address that stays: the editor's path has a ticket.

    Relative addresses in them that lead out of packs, and absolute ones, lead where they would without the map.
    """
    of_packs = {f"{place}/": "./", "./extensions/": f"{place}/extensions/", "/extensions/": f"{place}/extensions/"}
    own = {each: each for each in (f"{place}/extensions/", *NOT_OF_PACKS)}
    absolute = {each.removeprefix("."): each for each in NOT_OF_PACKS}
    return json.dumps({"imports": {**of_packs, **own, **absolute, "/scripts/": "./scripts/"}}, sort_keys=True)
