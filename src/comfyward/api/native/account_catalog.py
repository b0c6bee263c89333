"""The catalog as an account sees it: what workers offer, and the account's own files."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from comfyward.api.native.scope import Scope, Scopes
from comfyward.dispatch.bindings import Bindings
from comfyward.store import files, workflows
from comfyward.store.db import Database
from comfyward.store.workflows import DEFAULT_ALIAS
from comfyward.workflows.catalog import Catalog
from comfyward.workflows.listing import Paths


@dataclass(frozen=True)
class AccountCatalog:
    """`catalog` is None until a worker has sent one."""

    catalog: Catalog | None
    own: Paths
    account_id: str

    @property
    def models(self) -> dict[str, list[str]]:
        """The names of models, by folder."""
        return (self.catalog or Catalog()).models_with(self.own)


class AccountCatalogs:
    """Stored catalogs of the environments of workflows, so that they answer before any worker is up."""

    def __init__(self, db: Database, scopes: Scopes, bindings: Bindings) -> None:
        self._db, self._scopes, self._bindings = db, scopes, bindings

    async def of(self, request: Request) -> AccountCatalog:
        """Raises Unauthenticated, Forbidden, NotFound."""
        scope = await self._scopes.of(request)
        own = await self._db.read(files.usable_paths, scope.account_id)
        environment = await self._environment(scope, scope.target_workflow_id)
        return AccountCatalog(await self._bindings.catalog_lately(environment), own, scope.account_id)

    async def is_shared(self, scope: Scope) -> bool:
        """True if the catalog of a workflow is that of the account's default workflow. Raises NotFound."""
        environment = await self._environment(scope, scope.target_workflow_id)
        return environment == await self._environment(scope, DEFAULT_ALIAS)

    async def _environment(self, scope: Scope, workflow_id: str) -> str:
        return (await self._db.lookup(workflows.place, scope.account_id, workflow_id)).environment
