"""The API keys of an account."""

from __future__ import annotations

from starlette.responses import Response

from comfyward.api.auth import Auth
from comfyward.api.whole_numbers import whole_number
from comfyward.store import accounts
from comfyward.store.db import Database, now_ms
from comfyward.web.page import Page
from comfyward.web.page_request import PageRequest, text_of
from comfyward.web.problems import PageError

DAY_MS = 24 * 3600 * 1000
MAX_DAYS = 3650


class AccountKeys:
    def __init__(self, db: Database, auth: Auth) -> None:
        self._db, self._auth = db, auth

    def pages(self) -> list[Page]:
        return [
            Page("GET", "/account", self.show, "The account's API keys"),
            Page("POST", "/account/keys", self.create, "Create a key and show it, this once"),
            Page("POST", "/account/keys/{key_id}/revoke", self.revoke, "Revoke a key"),
        ]

    async def show(self, request: PageRequest) -> Response:
        return await self._page(request)

    async def create(self, request: PageRequest) -> Response:
        """Answers with a page, not a redirect: no URL ever contains the new key."""
        form, now = await request.form(), now_ms()
        name, days = text_of(form, "name", 200), text_of(form, "days", 10)
        if not name:
            raise PageError("Enter a name for the key.")
        lasts_days = whole_number(days, least=1, most=MAX_DAYS)
        if days and lasts_days is None:
            raise PageError(f"A key can be valid for 1 to {MAX_DAYS} days.")
        expires_at = None if lasts_days is None else now + lasts_days * DAY_MS
        created = await self._db.write(accounts.create_key, request.account.id, name, now, expires_at)
        return await self._page(request, created)

    async def revoke(self, request: PageRequest) -> Response:
        await self._db.write(accounts.revoke_key, request.account.id, request["key_id"], now_ms())
        self._auth.forget(request.account.id)
        return request.redirect("/account")

    async def _page(self, request: PageRequest, created: str | None = None) -> Response:
        keys = await self._db.read(accounts.keys, request.account.id)
        return request.render("account_keys.html", keys=keys, created=created, now=now_ms(), tab="keys")
