"""Scripts and other files of packs for the editor, at its own origin: those that an admin allows, in their workflows.

The editor imports what `/extensions` lists. A script finds its neighbours, and ComfyUI's, by relative addresses; so
everything lies where ComfyUI has it, below the workflow's path, and nothing is redirected: a browser would take one
script under two addresses for two.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from comfyward.api.body import Kept, answer
from comfyward.api.contents import OCTET_STREAM
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.header_addresses import parts_of
from comfyward.api.native.bundle import Bundle
from comfyward.api.native.fixed_answers import OWN_SCRIPT
from comfyward.api.native.scope import Scopes
from comfyward.dispatch.web_files import AllowedFiles, WebFiles
from comfyward.errors import MethodNotAllowed, NotFound
from comfyward.store import workflows
from comfyward.store.db import Database

KEPT = "private, max-age=31536000, immutable"  # the address has a ticket, and content of one digest while that lasts
# Whatever is opened as a page of its own, such as a picture that holds a script, does nothing.
INERT = {"Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'"}
RUNS = ("text/javascript", "application/wasm")
METHODS = ("POST", "PUT", "PATCH", "DELETE")
NOT_SERVED = "ComfyUI's route {method} {path} is not served here: a worker's ComfyUI cannot be reached from outside."
HINT = "Of packs, an editor gets files and what their routes without parameters answered in the trial."
_BELOW_A_WORKFLOW = re.compile(r"(/workflows/[\w-]+/[\w.-]+/comfy)/", re.ASCII)


class PackFiles:
    """`editor` are the files of ComfyUI's own editor, which come first."""

    def __init__(
        self, db: Database, scopes: Scopes, lasting: Scopes, web_files: WebFiles, editor: Bundle | None
    ) -> None:
        """`lasting` takes a ticket for as long as its session: scripts load more of their files when they need them."""
        self._db, self._scopes, self._lasting = db, scopes, lasting
        self._web_files, self._editor = web_files, editor

    def listed(self) -> Endpoint:
        """The list of scripts, in place of the one without packs."""
        return Endpoint("GET", "/extensions", self.extensions, "Scripts of the editor", Models(answer=list[str]))

    def others(self) -> list[Endpoint]:
        """Every path that nobody else answers."""
        any_path, file = "/{name:path}", Models(answer=OCTET_STREAM)
        refused = [Endpoint(method, any_path, self.not_served, "Not served") for method in METHODS]
        return [Endpoint("GET", any_path, self.serve, "A file of a pack or of the editor", file), *refused]

    async def extensions(self, request: Request) -> Response:
        found = await self._found(request, self._scopes)
        return answer([OWN_SCRIPT, *map(quote, found.scripts)], headers={"Cache-Control": "no-store"})

    async def serve(self, request: Request) -> Response:
        name = request.path_params["name"]
        if self._editor is not None and self._editor.has(name):
            return await self._editor.redirect(request)
        found = await self._web_files.read(await self._found(request, self._lasting), f"/{name}")
        if found is None:
            return await self.not_served(request)
        kept = Kept(found.content, found.packed or found.content, f'W/"{found.digest}"')
        headers = {"Cache-Control": KEPT, **({} if found.media_type in RUNS else INERT)}
        return kept.answer(request, found.media_type, headers)

    async def not_served(self, request: Request) -> Response:
        """Raises NotFound, to whoever may know."""
        await self._lasting.of(request)
        path = f"/{request.path_params['name']}"
        if path == "/":
            raise MethodNotAllowed("The editor's page is only read.")
        raise NotFound(NOT_SERVED.format(method=request.method, path=path[:200]), hint=HINT)

    async def _found(self, request: Request, scopes: Scopes) -> AllowedFiles:
        scope = await scopes.of(request)
        workflow = await self._db.lookup(workflows.get, scope.account_id, scope.target_workflow_id)
        return await self._web_files.of(workflow.environment, workflow.accelerator)


async def at_root(request: Request) -> Response:
    """Leads absolute addresses of packs to the workflow whose editor asks for them, which its Referer tells."""
    referer = parts_of(request.headers.get("referer"))
    below = _BELOW_A_WORKFLOW.match(referer.path)
    if below is None or referer.netloc != request.headers.get("host"):
        raise NotFound("Files of packs are served below a workflow's path only.")
    headers = {"Cache-Control": "no-store", "Vary": "Referer"}
    return RedirectResponse(below[1] + quote(request.url.path), 307, headers)
