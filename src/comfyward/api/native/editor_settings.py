"""The settings of ComfyUI's editor, by account."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.body import answer
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.native.models import AnyObject
from comfyward.api.native.requests import read_any
from comfyward.api.native.scope import Scope, Scopes
from comfyward.errors import InvalidRequest
from comfyward.store import editor
from comfyward.store.db import Database

MAX_NAME = 200
DEFAULTS: dict[str, Any] = {
    # Without it, the editor opens its templates over the graph, which is there already.
    "Comfy.TutorialCompleted": True,
    # Releases are for the operator, and would be fetched from another host.
    "Comfy.Notification.ShowVersionUpdates": False,
}
# The browser does not store the open graph: it would open it in another workflow.
OF_A_WORKFLOW: dict[str, Any] = {"Comfy.Workflow.Persist": False}


class EditorSettings:
    def __init__(self, db: Database, scopes: Scopes, body_limit_bytes: int) -> None:
        self._db, self._scopes, self._body_limit_bytes = db, scopes, body_limit_bytes

    def endpoints(self) -> list[Endpoint]:
        path, setting = "/settings/{name:path}", Models(answer=Any)
        return [
            Endpoint("GET", "/settings", self.find, "The editor's settings", Models(answer=AnyObject)),
            Endpoint("POST", "/settings", self.change, "Change settings", Models(body=AnyObject)),
            Endpoint("GET", path, self.get, "A setting, or null", setting),
            Endpoint("POST", path, self.put, "Change a setting", Models(body=Any)),
        ]

    async def find(self, request: Request) -> Response:
        return answer(await self._settings(request))

    async def get(self, request: Request) -> Response:
        return answer((await self._settings(request)).get(request.path_params["name"]))

    async def change(self, request: Request) -> Response:
        scope, changes = await self._scopes.of(request), await read_any(request, self._body_limit_bytes)
        if not isinstance(changes, dict):
            raise InvalidRequest("The body must be an object of settings.")
        return await self._change(scope, changes)

    async def put(self, request: Request) -> Response:
        scope, value = await self._scopes.of(request), await read_any(request, self._body_limit_bytes)
        return await self._change(scope, {request.path_params["name"]: value})

    async def _settings(self, request: Request) -> dict[str, Any]:
        scope = await self._scopes.of(request)
        of_scope = OF_A_WORKFLOW if scope.workflow_id else {}
        return DEFAULTS | of_scope | await self._db.lookup(editor.settings, scope.account_id)

    async def _change(self, scope: Scope, changes: dict[str, Any]) -> Response:
        if any(not name or len(name) > MAX_NAME for name in changes):
            raise InvalidRequest(f"A setting's name must have 1 to {MAX_NAME} characters.")
        await self._db.write(editor.change_settings, scope.account_id, changes)
        return Response()
