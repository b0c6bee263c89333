"""All accounts, for admins: their names, and the limits of their storage."""

from __future__ import annotations

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from comfyward.accounts.account import Account
from comfyward.api import leniency
from comfyward.api.auth import Auth
from comfyward.api.body import answer, read_json
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.v1 import answers
from comfyward.api.v1.account import storage_shape
from comfyward.dispatch.quotas import Quotas
from comfyward.errors import Forbidden
from comfyward.store import accounts, storage
from comfyward.store.db import Database

BODY_LIMIT_BYTES = 64 << 10
MOST_BYTES = 2**53


class StorageLimits(leniency.Request):
    """The limits to change: 0 is any amount, and null the server's own limit."""

    inputs: int | None = Field(None, ge=0, le=MOST_BYTES, description="Bytes of files other than models.")
    models: int | None = Field(None, ge=0, le=MOST_BYTES, description="Bytes of models.")
    outputs: int | None = Field(None, ge=0, le=MOST_BYTES, description="Bytes that runs keep.")
    unfinished: int | None = Field(None, ge=0, le=MOST_BYTES, description="Announced bytes of unfinished uploads.")
    uploads: int | None = Field(None, ge=0, le=MOST_BYTES, description="Number of unfinished uploads.")


class Accounts:
    def __init__(self, auth: Auth, db: Database, quotas: Quotas) -> None:
        self._auth, self._db, self._quotas = auth, db, quotas

    def endpoints(self) -> list[Endpoint]:
        one, limits = "/accounts/{account_id}/storage", answers.AccountStorage
        listed, changed = Models(answer=list[answers.NamedAccount]), Models(body=StorageLimits, answer=limits)
        return [
            Endpoint("GET", "/accounts", self.find, "All accounts (admins)", listed),
            Endpoint("GET", one, self.get, "An account's storage and its limits (admins)", Models(answer=limits)),
            Endpoint("PATCH", one, self.change, "Change the limits of an account's storage (admins)", changed),
        ]

    async def find(self, request: Request) -> Response:
        await self._check_admin(request)
        found = await self._db.read(accounts.find)
        return answer([{"id": account.id, "name": account.name, "role": account.role} for account in found])

    async def get(self, request: Request) -> Response:
        await self._check_admin(request)
        return await self._shown(await self._named(request))

    async def change(self, request: Request) -> Response:
        await self._check_admin(request)
        account = await self._named(request)
        body = await read_json(request, StorageLimits, BODY_LIMIT_BYTES)
        limits = {name: getattr(body, name) for name in body.model_fields_set}
        await self._db.write(storage.set_limits, account.id, limits)
        self._auth.forget(account.id)
        return await self._shown(await self._named(request))

    async def _check_admin(self, request: Request) -> None:
        """Raises Unauthenticated, Forbidden."""
        if not (await self._auth.caller(request)).account.is_admin:
            raise Forbidden("Only admins can see and change other accounts.")

    async def _named(self, request: Request) -> Account:
        """The account that the path names. Raises NotFound."""
        return await self._db.lookup(accounts.by_id, request.path_params["account_id"])

    async def _shown(self, account: Account) -> Response:
        stored, quota = await self._quotas.stored(account.id), self._quotas.of(account)
        own = storage.own_limits(account.storage_limits)
        return answer(
            {"id": account.id, "name": account.name, "storage": storage_shape(stored, quota), "own_limits": own}
        )
