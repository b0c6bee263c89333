"""Scripts and other files of packs for the editor, at its own origin: those that an admin allows, in their workflows.

The editor imports what `/extensions` lists. A script finds its neighbours, and ComfyUI's, by relative addresses; so
everything lies where ComfyUI has it, below the workflow's path, and nothing is redirected: a browser would take one
script under two addresses for two. The editor's page has a map of imports, by which browsers get the same files from an
address that has no time in it, and keep them.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from comfyward.api.auth import refuse_foreign_origin
from comfyward.api.body import Kept, answer
from comfyward.api.contents import OCTET_STREAM
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.header_addresses import parts_of
from comfyward.api.native.bundle import Bundle
from comfyward.api.native.fixed_answers import OWN_SCRIPT
from comfyward.api.native.scope import Scopes
from comfyward.api.tickets import PackTicket, Tickets, expired
from comfyward.dispatch.web_files import AllowedFiles, Served, WebFiles
from comfyward.errors import MethodNotAllowed, NotFound
from comfyward.store import sessions, workflows
from comfyward.store.db import Database, now_ms
from comfyward.workflows.workflow import Workflow

KEPT = "private, max-age=31536000, immutable"  # the address has a ticket, and content of one digest while that lasts
BELOW = "/packs"
# Whatever is opened as a page of its own, such as a picture that holds a script, does nothing.
INERT = {"Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'"}
RUNS = ("text/javascript", "application/wasm")
METHODS = ("POST", "PUT", "PATCH", "DELETE")
NOT_SERVED = "ComfyUI's route {method} {path} is not served here: a worker's ComfyUI cannot be reached from outside."
HINT = "Of packs, an editor gets files and what their routes without parameters answered in the trial."
_BELOW_A_TICKET = re.compile(rf"(/workflows/[\w-]+/[\w.-]+/comfy|{BELOW}/[\w.-]+)/", re.ASCII)


class PackFiles:
    """`editor` are the files of ComfyUI's own editor, which come first."""

    def __init__(
        self,
        db: Database,
        scopes: Scopes,
        lasting: Scopes,
        web_files: WebFiles,
        tickets: Tickets,
        editor: Bundle | None,
    ) -> None:
        """`lasting` takes a ticket for as long as its session: scripts load more of their files when they need them."""
        self._db, self._scopes, self._lasting = db, scopes, lasting
        self._web_files, self._editor, self._tickets = web_files, editor, tickets

    def listed(self) -> Endpoint:
        """The list of scripts, in place of the one without packs."""
        return Endpoint("GET", "/extensions", self.extensions, "Scripts of the editor", Models(answer=list[str]))

    def others(self) -> list[Endpoint]:
        """Every path that nobody else answers."""
        any_path, file = "/{name:path}", Models(answer=OCTET_STREAM)
        refused = [Endpoint(method, any_path, self.not_served, "Not served") for method in METHODS]
        return [Endpoint("GET", any_path, self.serve, "A file of a pack or of the editor", file), *refused]

    async def extensions(self, request: Request) -> Response:
        _, found = await self._found(request, self._scopes)
        return answer([OWN_SCRIPT, *map(quote, found.scripts)], headers={"Cache-Control": "no-store"})

    async def serve(self, request: Request) -> Response:
        name = request.path_params["name"]
        if self._editor is not None and self._editor.has(name):
            return await self._editor.redirect(request)
        found = await self._web_files.read((await self._found(request, self._lasting))[1], f"/{name}")
        return await self.not_served(request) if found is None else _answer(request, found)

    async def serve_kept(self, request: Request) -> Response:
        """The same at an address that stays: scripts, and what they name by relative addresses."""
        refuse_foreign_origin(request)
        name, ticket = request.path_params["name"], self._tickets.read_for_packs(request.path_params["ticket"])
        if await self._db.lookup(sessions.caller_by_id, ticket.session_id, now_ms()) is None:
            raise expired()
        if self._editor is not None and self._editor.has(name):
            return await self._editor.redirect(request)
        allowed = (await self._web_files.of(ticket.environment, ticket.accelerator or None)).allowed
        found = await self._web_files.read_from(ticket.archive, allowed, f"/{name}")
        if found is None:
            raise NotFound(NOT_SERVED.format(method=request.method, path=f"/{name}"[:200]), hint=HINT)
        return _answer(request, found)

    async def kept_place(self, request: Request) -> str:
        """The path below which the files of a workflow's packs stay the same; "" if it has no scripts of packs."""
        workflow, found = await self._found(request, self._scopes)
        if not found.scripts:
            return ""
        session_id = request.state.ticket.session_id
        ticket = PackTicket(session_id, workflow.environment, workflow.accelerator or "", found.archive)
        return f"{BELOW}/{self._tickets.write_for_packs(ticket)}"

    async def not_served(self, request: Request) -> Response:
        """Raises NotFound, to whoever may know."""
        await self._lasting.of(request)
        path = f"/{request.path_params['name']}"
        if path == "/":
            raise MethodNotAllowed("The editor's page is only read.")
        raise NotFound(NOT_SERVED.format(method=request.method, path=path[:200]), hint=HINT)

    async def _found(self, request: Request, scopes: Scopes) -> tuple[Workflow, AllowedFiles]:
        scope = await scopes.of(request)
        workflow = await self._db.lookup(workflows.get, scope.account_id, scope.target_workflow_id)
        return workflow, await self._web_files.of(workflow.environment, workflow.accelerator)


def _answer(request: Request, found: Served) -> Response:
    kept = Kept(found.content, found.packed or found.content, f'W/"{found.digest}"')
    headers = {"Cache-Control": KEPT, **({} if found.media_type in RUNS else INERT)}
    return kept.answer(request, found.media_type, headers)


async def at_root(request: Request) -> Response:
    """Leads absolute addresses (`/extensions/…`, `/view?…`, `/upload/image`), as many packs write them, to the workflow
    whose editor asks for them, which its Referer tells."""
    referer = parts_of(request.headers.get("referer"))
    below = _BELOW_A_TICKET.match(referer.path)
    if below is None or referer.netloc != request.headers.get("host"):
        raise NotFound("What editors ask for is served below a workflow's path only.")
    headers = {"Cache-Control": "no-store", "Vary": "Referer"}
    path, query = request.scope["raw_path"].decode("latin-1"), request.url.query
    return RedirectResponse(f"{below[1]}{path}{'?' if query else ''}{query}", 307, headers)
