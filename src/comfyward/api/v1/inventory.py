"""The inventory in v1: accelerators, models, node classes."""

from __future__ import annotations

from collections.abc import Mapping
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
from comfyward.dispatch.inventory import Inventory as Stock
from comfyward.errors import NotFound
from comfyward.store import files
from comfyward.store.db import Database
from comfyward.workflows.catalog import Catalog


class ModelsQuery(BaseModel):
    folder: str | None = Field(None, description="Only models of this folder, e.g. loras.")
    environment: str = Field("", max_length=120, description="Of which environment. Default: the default one.")


class NodesQuery(BaseModel):
    environment: str = Field("", max_length=120, description="Of which environment. Default: the default one.")


class Inventory:
    """`prices` are credits a second of each pool."""

    def __init__(
        self, auth: Auth, db: Database, inventory: Stock, bindings: Bindings, prices: Mapping[str, float]
    ) -> None:
        self._auth, self._db, self._inventory, self._prices = auth, db, inventory, prices
        self._bindings = bindings

    def endpoints(self) -> list[Endpoint]:
        models = Models(query=ModelsQuery, answer=dict[str, list[str]])
        nodes = Models(query=NodesQuery, answer=list[answers.Node])
        node = Models(query=NodesQuery, answer=dict[str, Any])
        return [
            Endpoint(
                "GET",
                "/accelerators",
                self.accelerators,
                "Accelerators that runs can ask for",
                Models(answer=list[answers.Accelerator]),
            ),
            Endpoint("GET", "/models", self.models, "Models that graphs can name without bringing them", models),
            Endpoint("GET", "/nodes", self.nodes, "Node classes that graphs can use", nodes),
            Endpoint("GET", "/nodes/{class_type}", self.node, "A node class with its inputs", node),
        ]

    async def accelerators(self, request: Request) -> Response:
        await self._auth.caller(request)
        shown = [
            {
                "name": pool.name,
                "aliases": pool.aliases,
                "stands_in_for": pool.stands_in_for,
                "device": pool.device,
                "workers": pool.workers,
                "credits_per_second": self._prices.get(pool.name, 0.0),
            }
            for pool in await self._inventory.pools()
        ]
        return answer(shown)

    async def models(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        query = read_query(request, ModelsQuery)
        folder, catalog = query.folder, await self._catalog(query.environment)
        found = catalog.models_with(await self._db.read(files.usable_paths, caller.account.id))
        return answer({kind: names for kind, names in found.items() if folder in (None, kind)})

    async def nodes(self, request: Request) -> Response:
        await self._auth.caller(request)
        catalog = await self._catalog(read_query(request, NodesQuery).environment)
        return answer([_summary(name, info) for name, info in catalog.nodes.items()])

    async def node(self, request: Request) -> Response:
        await self._auth.caller(request)
        catalog = await self._catalog(read_query(request, NodesQuery).environment)
        class_type = request.path_params["class_type"]
        if class_type not in catalog.nodes:
            raise NotFound(f"There is no node class '{class_type}'.", hint="See GET /api/v1/nodes.")
        return answer(catalog.nodes[class_type])

    async def _catalog(self, environment: str) -> Catalog:
        """Raises InvalidEnvironment."""
        return await self._bindings.catalog(environment) or Catalog()


def _summary(name: str, info: dict[str, Any]) -> dict[str, Any]:
    shown = ("display_name", "category", "description", "output_node", "python_module")
    return {"name": name, **{key: info.get(key) for key in shown}}
