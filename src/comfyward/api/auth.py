"""Who is calling: API keys for clients, tokens for workers, signatures on links."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time

from starlette.requests import HTTPConnection, Request

from comfyward.accounts.account import Caller
from comfyward.errors import Unauthenticated
from comfyward.ids import hash_secret
from comfyward.store import accounts
from comfyward.store.accounts import KEY_USE_RESOLUTION_MS
from comfyward.store.db import Database, now_ms

REMEMBER_S = 2.0
MAX_REMEMBERED = 10_000
SIGNATURE_CHARACTERS = 32


class Auth:
    """Looks keys up by their hash; a known key is remembered for two seconds, so revoking takes effect within them."""

    def __init__(self, db: Database, link_secret: str) -> None:
        self._db, self._link_secret = db, link_secret.encode()
        self._callers: dict[str, tuple[float, Caller]] = {}
        self._tokens: dict[str, float] = {}
        self._touching: set[asyncio.Task[None]] = set()

    async def caller(self, request: Request) -> Caller:
        """The account and key of a request. Raises Unauthenticated."""
        return await self.caller_of(bearer(request))

    async def caller_of(self, key: str) -> Caller:
        """The account of an API key. Raises Unauthenticated."""
        key_hash = hash_secret(key)
        remembered = self._callers.get(key_hash)
        if remembered is not None and remembered[0] > time.monotonic():
            return remembered[1]
        now = now_ms()
        found = await self._db.look(accounts.caller, key_hash, now)
        if found is None:
            raise Unauthenticated("The API key is not known, has expired or was revoked.")
        caller, last_used_at = found
        if caller.api_key_id and now - (last_used_at or 0) > KEY_USE_RESOLUTION_MS:
            self._touch(caller.api_key_id, now)
        if len(self._callers) >= MAX_REMEMBERED:
            self._callers.clear()
        self._callers[key_hash] = (time.monotonic() + REMEMBER_S, caller)
        return caller

    async def worker(self, request: Request) -> None:
        """Raises Unauthenticated unless the request carries a worker's token."""
        token_hash = hash_secret(bearer(request))
        if self._tokens.get(token_hash, 0.0) > time.monotonic():
            return
        if not await self._db.look(accounts.is_worker_token, token_hash):
            raise Unauthenticated(
                "The worker token is not known or was revoked.", hint="Start the worker with a new one."
            )
        self._tokens[token_hash] = time.monotonic() + REMEMBER_S

    def signature(self, path: str) -> str:
        """What makes a link work without a key: for this path only, as long as the installation lives."""
        return hmac.new(self._link_secret, path.encode(), hashlib.sha256).hexdigest()[:SIGNATURE_CHARACTERS]

    def check_signature(self, path: str, signature: str) -> bool:
        return hmac.compare_digest(self.signature(path).encode(), signature.encode())

    def _touch(self, key_id: str, now: int) -> None:
        task = asyncio.create_task(self._db.write(accounts.touch_key, key_id, now))
        self._touching.add(task)
        task.add_done_callback(self._touching.discard)


def bearer(request: HTTPConnection) -> str:
    """The key of `Authorization: Bearer KEY`. Raises Unauthenticated."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise Unauthenticated("The request carries no API key.")
    return key.strip()
