"""The parts that calls of workers share: token, session, message, and the worker or the leased run behind a call."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request

from comfyward.api.auth import Auth
from comfyward.api.body import MessageLimit, read_message
from comfyward.dispatch.worker_orders import WorkerRef
from comfyward.dispatch.worker_sessions import WorkerSessions
from comfyward.errors import InvalidRequest, StaleLease
from comfyward.ids import hash_secret, is_digest
from comfyward.runs.run import Run
from comfyward.store import leases
from comfyward.store.db import Database
from comfyward.store.tokens import WorkerToken
from comfyward.worker.protocol import LEASE_HEADER, SESSION_HEADER

SMALL = MessageLimit(1 << 20, 20_000)
REPORTS = MessageLimit(64 << 20, 2_000_000)  # with what the nodes of a run show

S = TypeVar("S", bound=msgspec.Struct)
T = TypeVar("T")


class Calls:
    """Checks a call before its endpoint answers it."""

    def __init__(self, db: Database, auth: Auth, sessions: WorkerSessions) -> None:
        self._db, self._auth, self._sessions = db, auth, sessions

    async def token(self, request: Request) -> WorkerToken:
        """Raises Unauthenticated."""
        return await self._auth.worker(request)

    async def read(self, request: Request, kind: type[S], limit: MessageLimit = SMALL) -> S:
        """The message of a call. Raises Unauthenticated, InvalidRequest, TooLarge."""
        await self._auth.worker(request)
        return await read_message(request, kind, limit)

    async def worker(self, request: Request, worker_id: str, incarnation: str) -> WorkerRef:
        """The worker behind a call.

        Raises StaleLease when a later incarnation of it has registered, Forbidden for a worker that joined with another
        token, or another secret for its session.
        """
        token = await self._auth.worker(request)
        return await self._sessions.identify(token, session_of(request), worker_id, incarnation)

    async def check_lease(self, request: Request, lease: str) -> None:
        """Raises StaleLease unless the lease was given to a worker with the token and the session of the call."""
        await self._sessions.check_lease(await self._auth.worker(request), session_of(request), lease)

    async def leased_run(self, request: Request) -> Run:
        """The run whose lease the call names. Raises Unauthenticated, StaleLease."""
        lease = request.headers.get(LEASE_HEADER, "")
        await self.check_lease(request, lease)
        found = await self._db.lookup(leases.leased, lease)
        if found is None:
            raise StaleLease("The lease has expired or was given to another worker.")
        return found[0]


def session_of(request: Request) -> str:
    """The hash of the secret of a call's session; "" if it carries none, as those of earlier versions."""
    secret = request.headers.get(SESSION_HEADER, "")
    return hash_secret(secret) if secret else ""


def digest_in(request: Request) -> str:
    """The digest in the path. Raises InvalidRequest."""
    digest = str(request.path_params["digest"])
    if not is_digest(digest):
        raise InvalidRequest("The path does not hold a valid digest.")
    return digest


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of a call that is held open; None, and no result, as soon as the worker hangs up."""
    task = asyncio.create_task(work)
    gone = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
