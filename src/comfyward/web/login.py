"""Login by name and password or by a one-time link, and logout."""

from __future__ import annotations

import asyncio

from sqlalchemy import Connection
from starlette.responses import Response

from comfyward.accounts.account import Account, Caller
from comfyward.accounts.password import hash_password, is_password
from comfyward.api.auth import COOKIE, Auth, enter
from comfyward.errors import InvalidPassword, NotFound
from comfyward.ids import new_id
from comfyward.store import accounts, login_tries, sessions
from comfyward.store.db import Database, now_ms
from comfyward.store.login_tries import Budget
from comfyward.web.page import Access, Page
from comfyward.web.page_request import PageRequest, text_of
from comfyward.web.problems import PageError

HOME = "/workflows"
DEVICE_COOKIE = "comfyward_device"
DEVICE_LASTS_S = 365 * 24 * 3600
CONCURRENT_CHECKS = 2  # each takes 64 MiB for a moment

# Tries in 15 minutes. A browser that has logged in to the account before has a budget of its own, so that nobody can
# lock its owner out by guessing (OWASP's device cookies).
TRIES_OF_DEVICE = 8
TRIES_AT_ADDRESS = 60
TRIES_FROM_ADDRESS = 8  # at one name
TRIES_FROM_ANYWHERE = 200  # at one name


class Login:
    def __init__(self, db: Database, auth: Auth) -> None:
        self._db, self._auth = db, auth
        self._checks = asyncio.Semaphore(CONCURRENT_CHECKS)

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
        return request.render("login.html", next=own_path(request.query("next")), name="", problem=None)

    async def log_in(self, request: PageRequest) -> Response:
        form = await request.form()
        name, password, back = (text_of(form, part) for part in ("name", "password", "next"))
        budgets = self._budgets(request, name)
        if not await self._db.write(login_tries.reserve, budgets, now_ms()):
            hint = "Try again in 15 minutes, from a browser that has logged in before, or ask an admin for a link."
            raise PageError("Too many failed login attempts.", hint, status=429)
        async with self._checks:
            account = await self._account(name, password)
        if account is None:
            problem = "Incorrect name or password."
            return request.render("login.html", 401, next=own_path(back), name=name, problem=problem)
        await self._db.write(login_tries.forgive, budgets)
        return await begin_session(self._db, self._auth, request, account, own_path(back))

    def _budgets(self, request: PageRequest, name: str) -> list[Budget]:
        """The limits of a try at a name: the browser's own if it has logged in to the account before."""
        device = request.http.cookies.get(DEVICE_COOKIE, "")
        number, _, signature = device.partition(".")
        if self._auth.check_signature(_device_path(name, number), signature):
            return [Budget(f"device {number}", TRIES_OF_DEVICE)]
        address = request.http.client.host if request.http.client else ""
        return [
            Budget(f"address {address}", TRIES_AT_ADDRESS),
            Budget(f"{name} from {address}", TRIES_FROM_ADDRESS),
            Budget(f"{name} from anywhere", TRIES_FROM_ANYWHERE),
        ]

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
        return await begin_session(self._db, self._auth, request, owner, HOME)

    async def log_out(self, request: PageRequest) -> Response:
        caller = request.session_caller
        if caller is not None and caller.session_id:
            try:
                await self._db.write(sessions.end, caller.account.id, caller.session_id)
                self._auth.forget(caller.account.id)
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
                "This link has already been used or has expired.",
                "Ask an admin for a new one. If you are the admin, the login page says how to make one.",
                status=404,
            ) from error

    async def _account(self, name: str, password: str) -> Account | None:
        """The account with this name and password. Takes as long for a name that does not exist."""
        account_id, hashed = await self._db.lookup(accounts.password_hash, name) or (None, None)
        if not await asyncio.to_thread(is_password, password, hashed) or account_id is None:
            return None
        return await self._db.lookup(accounts.by_id, account_id)


async def begin_session(db: Database, auth: Auth, request: PageRequest, account: Account, path: str) -> Response:
    """Logs the browser in, remembers that it has been, and sends it to a page."""
    device = request.http.headers.get("user-agent", "")
    token = await db.write(sessions.begin, Caller(account, None), now_ms(), device)
    response = request.redirect(path)
    secure, number = request.base_url.startswith("https://"), new_id()
    enter(response, token, secure=secure)
    remembered = f"{number}.{auth.signature(_device_path(account.name, number))}"
    response.set_cookie(
        DEVICE_COOKIE, remembered, DEVICE_LASTS_S, httponly=True, samesite="lax", secure=secure, path="/login"
    )
    return response


def own_path(path: str) -> str:
    """A path to go to after the login: always one of this site."""
    is_own = path.startswith("/") and not path.startswith(("//", "/\\", "/login", "/logout"))
    return path if is_own and path.isprintable() else HOME


def _device_path(name: str, number: str) -> str:
    """The text that is signed for a browser that has logged in to the account of this name. No link has such a path."""
    return f"device/{number}/{name}"


def _use_link(conn: Connection, token: str, hashed: str | None) -> Account:
    owner = sessions.use_link(conn, token, now_ms())
    if hashed is not None:
        accounts.set_password_hash(conn, owner.id, hashed)
    return owner
