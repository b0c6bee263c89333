"""Routes of ComfyUI whose answers are the same for everybody here: the editor and some clients ask for them."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.body import answer, read_body
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.native.models import AnyObject, Logs, Users
from comfyward.api.native.scope import Scopes

OWN_SCRIPT = "/extensions/comfyward/ours.js"
# The editor's texts for features that work differently here: 1.58 has those of the panel, 1.32 those of the dialog.
TEXTS = (Path(__file__).parent / "editor" / "words.json").read_bytes()
IGNORED_LIMIT_BYTES = 1 << 20


class FixedAnswers:
    def __init__(self, scopes: Scopes) -> None:
        self._scopes = scopes

    def listed(self) -> Endpoint:
        """The list of scripts of an editor without packs."""
        return Endpoint("GET", "/extensions", self.extensions, "Scripts of the editor", Models(answer=list[str]))

    def endpoints(self) -> list[Endpoint]:
        empty, subgraph = Models(answer=AnyObject), "/global_subgraphs/{id}"
        return [
            Endpoint("GET", "/users", self.users, "The kind of user storage", Models(answer=Users)),
            Endpoint("GET", "/i18n", self.texts, "Texts of the editor", empty),
            Endpoint("GET", "/global_subgraphs", self.empty_object, "Subgraphs: none", empty),
            Endpoint("GET", subgraph, self.null, "A subgraph: null", Models(answer=None)),
            Endpoint("GET", "/workflow_templates", self.empty_object, "Templates of packs: none", empty),
        ]

    def internal(self) -> list[Endpoint]:
        """Below / only. There is no log of this server to show."""
        logs, subscribe = "/internal/logs", "/internal/logs/subscribe"
        return [
            Endpoint("GET", logs, self.text_logs, "The log: empty", Models(answer=str)),
            Endpoint("GET", f"{logs}/raw", self.logs, "The log: empty", Models(answer=Logs)),
            Endpoint("PATCH", subscribe, self.ignore, "Subscribe to the log", Models(body=AnyObject)),
        ]

    async def users(self, request: Request) -> Response:
        await self._scopes.of(request)
        return answer({"storage": "server", "migrated": True})

    async def extensions(self, request: Request) -> Response:
        """Our script alone: those of packs run at the editor's own origin only."""
        await self._scopes.of(request)
        return answer([OWN_SCRIPT])

    async def texts(self, request: Request) -> Response:
        await self._scopes.of(request)
        return Response(TEXTS, media_type="application/json")

    async def null(self, request: Request) -> Response:
        """ComfyUI's answer for a subgraph that it does not have."""
        await self._scopes.of(request)
        return answer(None)

    async def empty_object(self, request: Request) -> Response:
        await self._scopes.of(request)
        return answer({})

    async def logs(self, request: Request) -> Response:
        await self._scopes.of(request)
        return answer({"entries": [], "size": {"cols": 80, "rows": 24}})

    async def text_logs(self, request: Request) -> Response:
        await self._scopes.of(request)
        return answer("")

    async def ignore(self, request: Request) -> Response:
        await self._scopes.of(request)
        await read_body(request, IGNORED_LIMIT_BYTES)
        return Response()
