"""The way in and out: login by name and password, one-time links, logout."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from sqlalchemy import Connection
from starlette.responses import Response
from starlette.routing import Route

from comfyward.accounts.account import Account, Caller
from comfyward.accounts.password import hash_password, is_password
from comfyward.api.auth import COOKIE, enter
from comfyward.errors import InvalidPassword, NotFound
from comfyward.store import accounts, sessions
from comfyward.store.db import now_ms
from comfyward.web.problems import PageError
from comfyward.web.visit import Pages, Visit, text_of

HOME = "/workflows"
TRIES, WITHIN_S = 8, 900
MAX_REMEMBERED = 10_000
CHECKS_AT_ONCE = 2  # each takes 64 MiB for a moment


@dataclass
class Tries:
    """Failed logins by name and address: after some, a name is refused there for a while, whatever the password."""

    failed: dict[str, list[float]] = field(default_factory=dict)

    def check(self, where: str) -> None:
        """Raises PageError."""
        since = time.monotonic() - WITHIN_S
        recent = [at for at in self.failed.get(where, ()) if at > since]
        if len(recent) >= TRIES:
            hint = "Wait a quarter of an hour, or ask an admin for a one-time link."
            raise PageError("There were too many failed logins with this name.", hint, status=429)

    def failed_with(self, where: str) -> None:
        if len(self.failed) >= MAX_REMEMBERED:
            self.failed.clear()
        self.failed.setdefault(where, []).append(time.monotonic())

    def succeeded_with(self, where: str) -> None:
        self.failed.pop(where, None)


def routes(pages: Pages) -> list[Route]:
    login = Login()
    return [
        pages.get("/", home),
        pages.get("/login", login.show, for_strangers=True),
        pages.post("/login", login.enter, for_strangers=True),
        pages.get("/enter/{token}", show_link, for_strangers=True),
        pages.post("/enter/{token}", use_link, for_strangers=True),
        pages.post("/logout", leave, for_strangers=True),
    ]


async def home(visit: Visit) -> Response:
    return visit.to(HOME)


class Login:
    """By name and password."""

    def __init__(self) -> None:
        self._tries, self._checking = Tries(), asyncio.Semaphore(CHECKS_AT_ONCE)

    async def show(self, visit: Visit) -> Response:
        return visit.page("login.html", next=_next(visit.asked("next")), name="", problem=None)

    async def enter(self, visit: Visit) -> Response:
        form = await visit.form()
        name, password, back = (text_of(form, part) for part in ("name", "password", "next"))
        where = f"{name} from {visit.request.client.host if visit.request.client else ''}"
        self._tries.check(where)
        async with self._checking:
            account = await _account_with(visit, name, password)
        if account is None:
            self._tries.failed_with(where)
            problem = "Name or password is not right."
            return visit.page("login.html", 401, next=_next(back), name=name, problem=problem)
        self._tries.succeeded_with(where)
        return await let_in(visit, account, _next(back))


async def show_link(visit: Visit) -> Response:
    return visit.page("enter.html", owner=await _link_owner(visit), problem=None)


async def use_link(visit: Visit) -> Response:
    """Only now the link is used up: programs that look at links in messages do not press buttons."""
    password = text_of(await visit.form(), "password")
    try:
        hashed = await asyncio.to_thread(hash_password, password) if password else None
    except InvalidPassword as error:
        return visit.page("enter.html", 400, owner=await _link_owner(visit), problem=error.message)
    await _link_owner(visit)
    owner = await visit.context.db.write(_take_link, visit["token"], hashed)
    return await let_in(visit, owner, HOME)


async def _link_owner(visit: Visit) -> Account:
    """Whom the address's link lets in. Raises PageError."""
    try:
        return await visit.context.db.lookup(sessions.link_owner, visit["token"], now_ms())
    except NotFound as error:
        raise PageError("This link was used before or has expired.", "Ask an admin for another.", status=404) from error


async def leave(visit: Visit) -> Response:
    if visit.caller is not None and visit.caller.session_id:
        try:
            await visit.context.db.write(sessions.end, visit.account.id, visit.caller.session_id)
        except NotFound:
            pass  # it ended elsewhere meanwhile
    answered = visit.to("/login")
    answered.delete_cookie(COOKIE, path="/")
    return answered


async def let_in(visit: Visit, account: Account, back: str) -> Response:
    """Begins a session of an account and sends the browser on."""
    device = visit.request.headers.get("user-agent", "")
    token = await visit.context.db.write(sessions.begin, Caller(account, None), now_ms(), device)
    answered = visit.to(back)
    enter(answered, token, secure=visit.context.base_url(visit.request).startswith("https://"))
    return answered


async def _account_with(visit: Visit, name: str, password: str) -> Account | None:
    known = await visit.context.db.lookup(accounts.password_hash, name)
    account_id, hashed = known or (None, None)
    if not await asyncio.to_thread(is_password, password, hashed) or account_id is None:
        return None
    return await visit.context.db.lookup(accounts.by_id, account_id)


def _take_link(conn: Connection, token: str, hashed: str | None) -> Account:
    owner = sessions.use_link(conn, token, now_ms())
    if hashed is not None:
        accounts.set_password_hash(conn, owner.id, hashed)
    return owner


def _next(path: str) -> str:
    """Where to go after the login: a page of this site, whatever the address says."""
    is_own = path.startswith("/") and not path.startswith(("//", "/\\", "/login", "/logout"))
    return path if is_own and path.isprintable() else HOME
