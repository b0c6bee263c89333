"""The limits of a user's storage, for admins."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.datastructures import FormData
from starlette.responses import Response

from comfyward.accounts.account import Account
from comfyward.api.auth import Auth
from comfyward.dispatch.quotas import Quotas
from comfyward.store import accounts, storage
from comfyward.store.db import Database
from comfyward.web.page import Access, Page
from comfyward.web.page_request import PageRequest, text_of
from comfyward.web.problems import PageError
from comfyward.wording import bytes_in, exact_size, size

PATH = "/fleet/users/{account_id}/storage"
MOST = 2**53
COUNTED = "uploads"
LABELS = {
    "inputs": "Files",
    "models": "Models",
    "outputs": "Runs",
    "unfinished": "Unfinished uploads",
    "uploads": "Number of unfinished uploads",
}


@dataclass(frozen=True)
class Limit:
    """A limit in words: what is used, the account's own limit (empty: none of its own), and the server's."""

    name: str
    label: str
    used: str
    own: str
    default: str


class UserStorage:
    def __init__(self, db: Database, auth: Auth, quotas: Quotas) -> None:
        self._db, self._auth, self._quotas = db, auth, quotas

    def pages(self) -> list[Page]:
        return [
            Page("GET", PATH, self.show, "Limits of a user's storage", Access.ADMINS),
            Page("POST", PATH, self.change, "Change the limits of a user's storage", Access.ADMINS),
        ]

    async def show(self, request: PageRequest) -> Response:
        account = await self._db.lookup(accounts.by_id, request["account_id"])
        return request.render("fleet_user_storage.html", user=account, limits=await self._limits(account), tab="users")

    async def change(self, request: PageRequest) -> Response:
        account = await self._db.lookup(accounts.by_id, request["account_id"])
        form = await request.form()
        await self._db.write(storage.set_limits, account.id, {name: _limit(form, name) for name in LABELS})
        self._auth.forget(account.id)
        return request.redirect(f"/fleet/users/{account.id}/storage")

    async def _limits(self, account: Account) -> list[Limit]:
        stored, default = await self._quotas.stored(account.id), self._quotas.default_of(account)
        own = storage.own_limits(account.storage_limits)
        return [
            Limit(
                name,
                label,
                _amount(name, getattr(stored, name)),
                "" if name not in own else _exact(name, own[name]),
                _amount(name, getattr(default, name)) if getattr(default, name) else "no limit",
            )
            for name, label in LABELS.items()
        ]


def _amount(name: str, count: int) -> str:
    return f"{count:,}" if name == COUNTED else size(count)


def _exact(name: str, count: int) -> str:
    return str(count) if name == COUNTED or not count else exact_size(count)


def _limit(form: FormData, name: str) -> int | None:
    """The limit in a field; None if it is empty. Raises PageError."""
    text = text_of(form, name, 30, LABELS[name])
    if not text:
        return None
    most = (int(text) if text.isdecimal() else None) if name == COUNTED else bytes_in(text)
    if most is None or most > MOST:
        hint = "Enter a number." if name == COUNTED else "Enter a size, such as 500 GB."
        raise PageError(f"'{text}' is not a valid limit.", hint=hint)
    return most
