"""The catalog as an account sees it: what workers offer, and the account's own files."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from comfyward.api.native.scope import Scopes
from comfyward.dispatch.inventory import Inventory
from comfyward.store import files
from comfyward.store.db import Database
from comfyward.workflows.catalog import Catalog
from comfyward.workflows.listing import Paths


@dataclass(frozen=True)
class AccountCatalog:
    """`catalog` is None until a worker has sent one."""

    catalog: Catalog | None
    own: Paths

    @property
    def models(self) -> dict[str, list[str]]:
        """The names of models, by folder."""
        return (self.catalog or Catalog()).models_with(self.own)


class AccountCatalogs:
    """Stored catalogs, so that they answer before any worker is up."""

    def __init__(self, db: Database, scopes: Scopes, inventory: Inventory) -> None:
        self._db, self._scopes, self._inventory = db, scopes, inventory

    async def of(self, request: Request) -> AccountCatalog:
        """Raises Unauthenticated, Forbidden, NotFound."""
        scope = await self._scopes.of(request)
        own = await self._db.read(files.usable_paths, scope.account_id)
        return AccountCatalog(await self._inventory.catalog_lately(), own)
