"""The password and the browser sessions of an account."""

from __future__ import annotations

import asyncio

from starlette.responses import Response

from comfyward.accounts.password import hash_password, is_password
from comfyward.api.auth import Auth
from comfyward.errors import InvalidPassword
from comfyward.store import accounts, sessions
from comfyward.store.db import Database, now_ms
from comfyward.web.page import Page
from comfyward.web.page_request import PageRequest, text_of


class AccountSecurity:
    def __init__(self, db: Database, auth: Auth) -> None:
        self._db, self._auth = db, auth

    def pages(self) -> list[Page]:
        return [
            Page("GET", "/account/security", self.show, "Password and sessions"),
            Page("POST", "/account/password", self.change_password, "Change the password"),
            Page("POST", "/account/sessions/end", self.end_other_sessions, "Log out all other browsers"),
            Page("POST", "/account/sessions/{session_id}/end", self.end_session, "Log out one browser"),
        ]

    async def show(self, request: PageRequest) -> Response:
        return await self._page(request)

    async def change_password(self, request: PageRequest) -> Response:
        """Ends all other sessions, too."""
        form, account = await request.form(), request.account
        current = await self._password_hash(account.name)
        if current and not await asyncio.to_thread(is_password, text_of(form, "old"), current):
            return await self._page(request, "The current password is incorrect.", 403)
        try:
            hashed = await asyncio.to_thread(hash_password, text_of(form, "new"))
        except InvalidPassword as error:
            return await self._page(request, error.message, 400)
        await self._db.write(accounts.set_password_hash, account.id, hashed)
        await self._db.write(sessions.end_others, account.id, request.caller.session_id)
        self._auth.forget(account.id)
        return request.redirect("/account/security?changed=1")

    async def end_session(self, request: PageRequest) -> Response:
        await self._db.write(sessions.end, request.account.id, request["session_id"])
        self._auth.forget(request.account.id)
        return request.redirect("/account/security")

    async def end_other_sessions(self, request: PageRequest) -> Response:
        await self._db.write(sessions.end_others, request.account.id, request.caller.session_id)
        self._auth.forget(request.account.id)
        return request.redirect("/account/security")

    async def _page(self, request: PageRequest, problem: str | None = None, status: int = 200) -> Response:
        account = request.account
        return request.render(
            "account_security.html",
            status,
            sessions=await self._db.read(sessions.find, account.id, now_ms()),
            current=request.caller.session_id,
            has_password=await self._password_hash(account.name) is not None,
            changed=bool(request.query("changed")),
            problem=problem,
            tab="security",
        )

    async def _password_hash(self, name: str) -> str | None:
        found = await self._db.lookup(accounts.password_hash, name)
        return found[1] or None if found else None
