"""Authentication: API keys of clients, sessions of browsers, tokens of workers and fleets, signatures of links."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import Any

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from comfyward.accounts.account import Caller
from comfyward.api.header_addresses import parts_of
from comfyward.api.watches import Watches
from comfyward.errors import ComfywardError, Forbidden, NotFound, Unauthenticated
from comfyward.ids import hash_secret
from comfyward.store import accounts, sessions, tokens
from comfyward.store.accounts import KEY_USE_RESOLUTION_MS
from comfyward.store.db import Database, now_ms
from comfyward.store.notices import CallersChanged, Notice
from comfyward.store.tokens import WorkerToken

REMEMBER_S = 2.0
ASKED_AGAIN_S = 15.0  # keys expire, and commands revoke them, without a notice
MAX_REMEMBERED = 10_000
SIGNATURE_CHARACTERS = 32
COOKIE = "comfyward_session"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class Auth:
    """Finds the account or token of a request. Both are cached for two seconds: revoking takes effect within them."""

    def __init__(self, db: Database, link_secret: str) -> None:
        self._db, self._link_secret = db, link_secret.encode()
        self._callers: dict[str, tuple[float, Caller]] = {}
        self._tokens: dict[str, tuple[float, WorkerToken]] = {}
        self._touching: set[asyncio.Task[None]] = set()
        self._watches = Watches()
        db.notices.subscribe(self._on_notice, self._forget_all)

    async def caller(self, request: Request) -> Caller:
        """The account of a request, by its key or its browser's session. Raises Unauthenticated, Forbidden."""
        if "authorization" not in request.headers and (caller := await self.by_session(request)) is not None:
            return caller
        caller = await self.caller_of(key_of(request))
        request.state.owner = caller.account.id
        return caller

    async def by_session(self, request: HTTPConnection) -> Caller | None:
        """The account of the browser's session, if it has one. Raises Forbidden for pages of another site."""
        token = request.cookies.get(COOKIE)
        if not token:
            return None
        refuse_foreign_origin(request)
        now = now_ms()
        found = await self._db.lookup(sessions.caller, token, now)
        if found is None:
            return None
        caller, seen_at = found
        request.state.owner = caller.account.id
        if caller.session_id and now - seen_at > KEY_USE_RESOLUTION_MS:
            self._in_background(self._db.write(sessions.touch, caller.session_id, now))
        return caller

    def forget(self, account_id: str) -> None:
        """Has every server ask the rows again, after a key, session or the account itself has changed or ended."""
        self._callers.clear()
        self._watches.wake(account_id)
        self._db.notices.send(CallersChanged(account_id))

    async def until_refused(self, account_id: str, ask: Callable[[], Awaitable[object]]) -> None:
        """Asks for a caller of this account again whenever the answer may have changed, until there is none.

        Then raises Unauthenticated, Forbidden or NotFound, as `ask` does.
        """
        with self._watches.watch(account_id) as changed:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(ASKED_AGAIN_S):  # `wait_for` would take a task of its own
                        await changed.wait()
                changed.clear()
                try:
                    await ask()
                except (Unauthenticated, Forbidden, NotFound):
                    raise
                except ComfywardError:
                    continue  # the database is away

    async def caller_of(self, key: str) -> Caller:
        """The account of an API key. Raises Unauthenticated."""
        key_hash = hash_secret(key)
        remembered = self._callers.get(key_hash)
        if remembered is not None and remembered[0] > time.monotonic():
            return remembered[1]
        now = now_ms()
        found = await self._db.lookup(accounts.caller, key_hash, now)
        if found is None:
            raise Unauthenticated("The API key is not known, has expired or was revoked.")
        caller, last_used_at = found
        if caller.api_key_id and now - (last_used_at or 0) > KEY_USE_RESOLUTION_MS:
            self._in_background(self._db.write(accounts.touch_key, caller.api_key_id, now))
        if len(self._callers) >= MAX_REMEMBERED:
            self._callers.clear()
        self._callers[key_hash] = (time.monotonic() + REMEMBER_S, caller)
        return caller

    async def worker(self, request: Request) -> WorkerToken:
        """The token of a request by a worker or fleet, whose connection no longer counts as one of its address.

        Raises Unauthenticated.
        """
        token = await self._worker_token(request)
        if uncount := getattr(request.state, "uncount", None):
            uncount()
        return token

    async def _worker_token(self, request: Request) -> WorkerToken:
        token_hash = request.state.owner = hash_secret(key_of(request))
        remembered = self._tokens.get(token_hash)
        if remembered is not None and remembered[0] > time.monotonic():
            return remembered[1]
        token = await self._db.lookup(tokens.in_use, token_hash)
        if token is None:
            raise Unauthenticated(
                "The worker token is not known or was revoked.", hint="Start the worker with a new one."
            )
        self._tokens[token_hash] = (time.monotonic() + REMEMBER_S, token)
        return token

    async def joining_worker(self, request: Request, pool: str) -> WorkerToken:
        """The token with which a worker joins this pool. Raises Unauthenticated, Forbidden."""
        token, now = await self.worker(request), now_ms()
        if token.is_for_fleets:
            raise Forbidden(f"The token '{token.name}' is for fleets; no worker joins with it.")
        if not token.lets_join(now):
            raise Unauthenticated(
                f"The worker token '{token.name}' has expired.", hint="Create a new one with 'comfyward tokens create'."
            )
        refuse_foreign_pool(token, pool)
        self._in_background(self._db.write(tokens.touch, token.hash, now))
        return token

    def signature(self, path: str) -> str:
        """The signature of a link, which opens this path without a key for as long as the installation lives."""
        return hmac.digest(self._link_secret, path.encode(), "sha256").hex()[:SIGNATURE_CHARACTERS]

    def check_signature(self, path: str, signature: str) -> bool:
        return hmac.compare_digest(self.signature(path).encode(), signature.encode())

    def _on_notice(self, notice: Notice) -> None:
        match notice:
            case CallersChanged(""):
                self._forget_all()
            case CallersChanged(account_id):
                self._callers.clear()
                self._watches.wake(account_id)

    def _forget_all(self) -> None:
        self._callers.clear()
        self._watches.wake_all()

    def _in_background(self, write: Coroutine[Any, Any, None]) -> None:
        """Writes a time of last use without delaying the request."""
        task = asyncio.create_task(write)
        self._touching.add(task)
        task.add_done_callback(self._touching.discard)


def refuse_foreign_origin(request: HTTPConnection, allowed: Collection[str] = ()) -> None:
    """Raises Forbidden for a request that a browser sent for a page of another site.

    Browsers add cookies to such requests, and may reach a loopback address. They name the origin of a request (Origin,
    Sec-Fetch-Site), which no page can change. `allowed` are the origins that may call this server all the same.
    """
    origin = request.headers.get("origin")
    if origin is not None and origin in allowed:
        return
    if origin is not None and parts_of(origin).netloc != request.headers.get("host"):
        raise Forbidden("The request comes from a page of another site.")
    site = request.headers.get("sec-fetch-site")
    if request.scope.get("method", "GET") not in SAFE_METHODS and site in ("cross-site", "same-site"):
        raise Forbidden("The request comes from a page of another site.")


def refuse_foreign_pool(token: WorkerToken, pool: str) -> None:
    """Raises Forbidden for a worker whose token is not for its pool."""
    if not token.serves(pool):
        raise Forbidden(
            f"The worker token '{token.name}' is for pool {token.pool}, not {pool}.",
            hint=f"Start the worker with --pool {token.pool}, or with another token.",
        )


def key_of(request: HTTPConnection) -> str:
    """The key of `Authorization: Bearer KEY`; of Basic the password, or the user name if there is no password.

    Raises Unauthenticated.
    """
    scheme, _, sent = request.headers.get("authorization", "").partition(" ")
    match scheme.lower():
        case "bearer":
            key = sent.strip()
        case "basic":
            user, _, password = _decoded(sent.strip()).partition(":")
            key = (password or user).strip()
        case _:
            key = ""
    if not key:
        raise Unauthenticated("The request carries no API key.")
    return key


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text).decode(errors="replace")  # user names may be in any character set
    except ValueError:
        return ""


def enter(answered: Response, token: str, *, secure: bool) -> None:
    """Sets the cookie of a new session. `secure` is for sites that are reached by https."""
    answered.set_cookie(
        COOKIE, token, sessions.LASTS_MS // 1000, httponly=True, samesite="lax", secure=secure, path="/"
    )
