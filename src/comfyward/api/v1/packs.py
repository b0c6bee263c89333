"""The packs that have a node class, in v1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.auth import Auth
from comfyward.api.body import answer
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.query import read_query
from comfyward.api.v1 import answers
from comfyward.dispatch.bindings import Bindings
from comfyward.dispatch.heavy_requests import HEAVY
from comfyward.environments.finding.finder import Finder
from comfyward.environments.finding.node_map import MAX_CLASS_LENGTH
from comfyward.errors import InvalidRequest
from comfyward.store import workflows
from comfyward.store.db import Database
from comfyward.workflows.catalog import Catalog
from comfyward.workflows.noted import noted_in
from comfyward.workflows.offer import NO_PACK_HINT, Confidence, Offer, Origin, no_pack


class PacksQuery(BaseModel):
    workflow: str | None = Field(
        None, description="A workflow of the account: its environment and the packs that it notes count."
    )


class Packs:
    def __init__(self, auth: Auth, db: Database, bindings: Bindings, finder: Finder) -> None:
        self._auth, self._db, self._bindings, self._finder = auth, db, bindings, finder

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                "GET",
                "/nodes/{class_type:path}/packs",
                self.find,
                "The packs, or versions of ComfyUI, that have a node class",
                Models(query=PacksQuery, answer=answers.Packs),
            )
        ]

    async def find(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        name = request.path_params["class_type"]
        if len(name) > MAX_CLASS_LENGTH:
            raise InvalidRequest(f"A node class has at most {MAX_CLASS_LENGTH} characters.")
        environment, editor_graph = "", None
        if workflow_id := read_query(request, PacksQuery).workflow:
            workflow = await self._db.lookup(workflows.get, caller.account.id, workflow_id)
            environment, editor_graph = workflow.environment, workflow.editor_graph
        catalog = await self._bindings.catalog_lately(environment) or Catalog()
        if catalog.has(name):
            return answer(_answer(name, [_installed(name, catalog)]))
        noted = await HEAVY.run(caller.account.id, len(editor_graph or ""), lambda: noted_in(editor_graph))
        found = await self._finder.find(caller.account.id, [name], noted)
        return answer(_answer(name, found.get(name, ())))


def _installed(name: str, catalog: Catalog) -> Offer:
    pack = catalog.packs.get(name)
    comfyui = None if pack else f"=={catalog.comfyui_version}"
    return Offer(pack or "ComfyUI", Origin.INSTALLED, Confidence.CERTAIN, comfyui=comfyui)


def _answer(name: str, offers: Sequence[Offer]) -> dict[str, Any]:
    nothing = no_pack(f"the class '{name}'")
    return {
        "class_type": name,
        "packs": [offer.facts() for offer in offers],
        "message": None if offers else f"{nothing} {NO_PACK_HINT}",
    }
