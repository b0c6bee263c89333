"""The users of the server, for admins."""

from __future__ import annotations

from typing import Literal

from sqlalchemy import Connection
from starlette.datastructures import FormData
from starlette.responses import Response

from comfyward.accounts.account import Account
from comfyward.api.auth import Auth
from comfyward.store import accounts, sessions
from comfyward.store.db import Database, now_ms
from comfyward.web.page import Access, Page
from comfyward.web.page_request import PageRequest, text_of
from comfyward.web.problems import PageError

Role = Literal["admin", "member"]


class Users:
    def __init__(self, db: Database, auth: Auth) -> None:
        self._db, self._auth = db, auth

    def pages(self) -> list[Page]:
        return [
            Page("GET", "/fleet/users", self.show, "All users", Access.ADMINS),
            Page("POST", "/fleet/users", self.invite, "Create an account and a one-time link", Access.ADMINS),
            Page("POST", "/fleet/users/{account_id}", self.change, "Change limit and role", Access.ADMINS),
            Page("POST", "/fleet/users/{account_id}/link", self.create_link, "Create a one-time link", Access.ADMINS),
        ]

    async def show(self, request: PageRequest) -> Response:
        return await self._page(request)

    async def invite(self, request: PageRequest) -> Response:
        form = await request.form()
        name = text_of(form, "name", 200)
        if not name:
            raise PageError("Enter a name for the user.")
        account, token = await self._db.write(_invite, name, _role(form), _credit_limit(form))
        return await self._page(request, account, token)

    async def change(self, request: PageRequest) -> Response:
        form = await request.form()
        await self._db.write(_change, request["account_id"], _role(form), _credit_limit(form))
        self._auth.forget(request["account_id"])
        return request.redirect("/fleet/users")

    async def create_link(self, request: PageRequest) -> Response:
        account = await self._db.lookup(accounts.by_id, request["account_id"])
        token = await self._db.write(sessions.offer_link, account.id, now_ms(), sessions.LINK_LASTS_MS)
        return await self._page(request, account, token)

    async def _page(self, request: PageRequest, invited: Account | None = None, token: str | None = None) -> Response:
        found = await self._db.read(accounts.find)
        return request.render(
            "fleet_users.html",
            users=found,
            used=await self._db.read(accounts.used_credits, [account.id for account in found]),
            invited=invited,
            link=f"{request.base_url}/enter/{token}" if token else None,
            tab="users",
        )


def _invite(conn: Connection, name: str, role: Role, credit_limit: float | None) -> tuple[Account, str]:
    account = accounts.create(conn, name, role, credit_limit, now_ms())
    return account, sessions.offer_link(conn, account.id, now_ms(), sessions.LINK_LASTS_MS)


def _change(conn: Connection, account_id: str, role: Role, credit_limit: float | None) -> None:
    accounts.by_id(conn, account_id)
    accounts.set_credit_limit(conn, account_id, credit_limit)
    accounts.set_role(conn, account_id, role)


def _role(form: FormData) -> Role:
    return "admin" if text_of(form, "role") == "admin" else "member"


def _credit_limit(form: FormData) -> float | None:
    """None for no limit. Raises PageError."""
    text = text_of(form, "credit_limit", 30)
    if not text:
        return None
    try:
        limit = float(text)
    except ValueError:
        limit = -1
    if not 0 <= limit < 1e15:
        raise PageError(f"'{text}' is not a valid credit limit.", hint="Leave it empty for no limit.")
    return limit
