"""Login by name and password or by a one-time link, and logout."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from sqlalchemy import Connection
from starlette.responses import Response

from comfyward.accounts.account import Account, Caller
from comfyward.accounts.password import hash_password, is_password
from comfyward.api.auth import COOKIE, enter
from comfyward.errors import InvalidPassword, NotFound
from comfyward.store import accounts, sessions
from comfyward.store.db import Database, now_ms
from comfyward.web.page import Access, Page
from comfyward.web.page_request import PageRequest, text_of
from comfyward.web.problems import PageError

HOME = "/workflows"
TRIES, WITHIN_S = 8, 900
MAX_REMEMBERED = 10_000
CONCURRENT_CHECKS = 2  # each takes 64 MiB for a moment


@dataclass
class FailedLogins:
    """Failed logins by name and address. After too many of them, every login there is refused for a while."""

    times: dict[str, list[float]] = field(default_factory=dict)

    def check(self, origin: str) -> None:
        """Raises PageError."""
        since = time.monotonic() - WITHIN_S
        recent = [at for at in self.times.get(origin, ()) if at > since]
        if len(recent) >= TRIES:
            hint = "Try again in 15 minutes, or ask an admin for a one-time link."
            raise PageError("Too many failed login attempts.", hint, status=429)

    def add(self, origin: str) -> None:
        if len(self.times) >= MAX_REMEMBERED:
            self.times.clear()
        self.times.setdefault(origin, []).append(time.monotonic())

    def clear(self, origin: str) -> None:
        self.times.pop(origin, None)


class Login:
    def __init__(self, db: Database) -> None:
        self._db = db
        self._failed, self._checks = FailedLogins(), asyncio.Semaphore(CONCURRENT_CHECKS)

    def pages(self) -> list[Page]:
        return [
            Page("GET", "/", self.home, "The start page"),
            Page("GET", "/login", self.show, "The login form", Access.EVERYONE),
            Page("POST", "/login", self.log_in, "Log in by name and password", Access.EVERYONE),
            Page("GET", "/enter/{token}", self.show_link, "What a one-time link leads to", Access.EVERYONE),
            Page("POST", "/enter/{token}", self.use_link, "Log in by a one-time link", Access.EVERYONE),
            Page("POST", "/logout", self.log_out, "Log out", Access.EVERYONE),
        ]

    async def home(self, request: PageRequest) -> Response:
        return request.redirect(HOME)

    async def show(self, request: PageRequest) -> Response:
        return request.render("login.html", next=_own_path(request.query("next")), name="", problem=None)

    async def log_in(self, request: PageRequest) -> Response:
        form = await request.form()
        name, password, back = (text_of(form, part) for part in ("name", "password", "next"))
        origin = f"{name} from {request.http.client.host if request.http.client else ''}"
        self._failed.check(origin)
        async with self._checks:
            account = await self._account(name, password)
        if account is None:
            self._failed.add(origin)
            problem = "Incorrect name or password."
            return request.render("login.html", 401, next=_own_path(back), name=name, problem=problem)
        self._failed.clear(origin)
        return await begin_session(self._db, request, account, _own_path(back))

    async def show_link(self, request: PageRequest) -> Response:
        """Does not use the link up: mail programs fetch the links in messages."""
        return request.render("enter.html", owner=await self._link_owner(request), problem=None)

    async def use_link(self, request: PageRequest) -> Response:
        password = text_of(await request.form(), "password")
        try:
            hashed = await asyncio.to_thread(hash_password, password) if password else None
        except InvalidPassword as error:
            return request.render("enter.html", 400, owner=await self._link_owner(request), problem=error.message)
        await self._link_owner(request)
        owner = await self._db.write(_use_link, request["token"], hashed)
        return await begin_session(self._db, request, owner, HOME)

    async def log_out(self, request: PageRequest) -> Response:
        caller = request.session_caller
        if caller is not None and caller.session_id:
            try:
                await self._db.write(sessions.end, caller.account.id, caller.session_id)
            except NotFound:
                pass  # it ended elsewhere meanwhile
        response = request.redirect("/login")
        response.delete_cookie(COOKIE, path="/")
        return response

    async def _link_owner(self, request: PageRequest) -> Account:
        """The account that the link logs in. Raises PageError."""
        try:
            return await self._db.lookup(sessions.link_owner, request["token"], now_ms())
        except NotFound as error:
            raise PageError(
                "This link has already been used or has expired.", "Ask an admin for a new one.", status=404
            ) from error

    async def _account(self, name: str, password: str) -> Account | None:
        """The account with this name and password. Takes as long for a name that does not exist."""
        account_id, hashed = await self._db.lookup(accounts.password_hash, name) or (None, None)
        if not await asyncio.to_thread(is_password, password, hashed) or account_id is None:
            return None
        return await self._db.lookup(accounts.by_id, account_id)


async def begin_session(db: Database, request: PageRequest, account: Account, path: str) -> Response:
    """Logs the browser in and sends it to a page."""
    device = request.http.headers.get("user-agent", "")
    token = await db.write(sessions.begin, Caller(account, None), now_ms(), device)
    response = request.redirect(path)
    enter(response, token, secure=request.base_url.startswith("https://"))
    return response


def _use_link(conn: Connection, token: str, hashed: str | None) -> Account:
    owner = sessions.use_link(conn, token, now_ms())
    if hashed is not None:
        accounts.set_password_hash(conn, owner.id, hashed)
    return owner


def _own_path(path: str) -> str:
    """A path to go to after the login: always one of this site."""
    is_own = path.startswith("/") and not path.startswith(("//", "/\\", "/login", "/logout"))
    return path if is_own and path.isprintable() else HOME
