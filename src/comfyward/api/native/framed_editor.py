"""ComfyUI's editor in a frame of the website's page, on an origin of its own."""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import re

from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.body import Kept
from comfyward.api.endpoint import Endpoint
from comfyward.api.native.editor_files import PAGE, EditorFiles, guard
from comfyward.api.native.frontend import NO_FRONTEND, Frontends
from comfyward.api.native.pack_files import PackFiles
from comfyward.api.native.scope import Scopes
from comfyward.api.sealed import policy
from comfyward.errors import Forbidden

# The page's frame has the same attribute. Without allow-top-navigation and allow-popups: our page opens what is asked.
SANDBOX = "allow-scripts allow-same-origin allow-forms allow-downloads allow-modals allow-pointer-lock"
REMEMBERED = 16
_INLINE = re.compile(r"<script>(.*?)</script>", re.DOTALL)


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
        await self._scopes.of(request)
        if request.headers.get("sec-fetch-dest", "iframe") != "iframe":
            raise Forbidden("The editor opens on a workflow's page only.", hint="Open the workflow on the website.")
        if self._editor is None:
            return Response(NO_FRONTEND, 404)
        page, headers = self._page_for(request.state.ticket.page_origin)
        return page.answer(request, "text/html", headers)

    def _made(self, page_origin: str) -> tuple[Kept, dict[str, str]]:
        """The page for frames of pages of this origin, and its policy."""
        assert self._editor is not None
        meta = f'<meta name="comfyward-page" content="{html.escape(page_origin)}">'
        text = self._editor.page(PAGE, f"{meta}<script>{guard()}</script>")
        # What the browser hashes: its parser turns line ends of Windows into plain ones.
        inline = [found.replace("\r\n", "\n") for found in _INLINE.findall(text)]
        scripts = [f"'sha256-{base64.b64encode(hashlib.sha256(each.encode()).digest()).decode()}'" for each in inline]
        headers = {"Content-Security-Policy": policy(page_origin, scripts, sandbox=SANDBOX)}
        return Kept.of(text.encode()), headers
