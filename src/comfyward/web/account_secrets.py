"""The named secrets of an account: tokens for the hosts of files and models. Values are never shown."""

from __future__ import annotations

from starlette.responses import Response

from comfyward.api.v1.secrets import owner_of
from comfyward.dispatch.named_secrets import NamedSecrets, NewSecret
from comfyward.errors import Conflict, InvalidRequest, SecretUnreadable
from comfyward.runs.named_secret import AUTHORIZATION, MAX_VALUE
from comfyward.store import named_secrets
from comfyward.store.db import Database
from comfyward.web.page import Page
from comfyward.web.page_request import PageRequest, text_of

MAX_HOSTS_TEXT = 4000


class AccountSecrets:
    def __init__(self, db: Database, secrets: NamedSecrets) -> None:
        self._db, self._secrets = db, secrets

    def pages(self) -> list[Page]:
        return [
            Page("GET", "/account/secrets", self.show, "Tokens for the hosts of files"),
            Page("POST", "/account/secrets", self.put, "Store a secret"),
            Page("POST", "/account/secrets/{name}/delete", self.delete, "Delete a secret"),
        ]

    async def show(self, request: PageRequest) -> Response:
        return await self._page(request)

    async def put(self, request: PageRequest) -> Response:
        form = await request.form()
        new = NewSecret(
            text_of(form, "name", 100),
            text_of(form, "value", MAX_VALUE + 1),
            text_of(form, "hosts", MAX_HOSTS_TEXT).replace(",", " ").split(),
            text_of(form, "header", 100) or AUTHORIZATION,
        )
        try:
            await self._secrets.put(owner_of(request.account, shared=bool(form.get("shared"))), new)
        except (InvalidRequest, Conflict, SecretUnreadable) as error:
            return await self._page(request, f"{error.message} {error.hint or ''}".strip(), new)
        return request.redirect("/account/secrets")

    async def delete(self, request: PageRequest) -> Response:
        owner = owner_of(request.account, shared=bool((await request.form()).get("shared")))
        await self._db.write(named_secrets.remove, owner, request["name"])
        return request.redirect("/account/secrets")

    async def _page(self, request: PageRequest, problem: str | None = None, tried: NewSecret | None = None) -> Response:
        """After a problem the form keeps what was entered, but for the value."""
        found = await self._secrets.of(request.account.id)
        return request.render(
            "account_secrets.html",
            secrets=[(each, self._secrets.is_readable(each)) for each in found],
            problem=problem,
            tried=tried,
            tab="secrets",
            status=400 if problem else 200,
        )
