"""The parts that calls of workers share: the token, the message, the worker or the leased run behind a call."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request

from comfyward.api.auth import Auth, refuse_foreign_pool
from comfyward.api.body import read_message
from comfyward.dispatch.worker_sessions import WorkerRef, WorkerSessions
from comfyward.errors import InvalidRequest, StaleLease
from comfyward.ids import is_digest
from comfyward.runs.run import Run
from comfyward.store import queue
from comfyward.store.db import Database
from comfyward.store.tokens import WorkerToken
from comfyward.worker.protocol import LEASE_HEADER

MAX_MESSAGE_BYTES = 64 << 20

S = TypeVar("S", bound=msgspec.Struct)
T = TypeVar("T")


class Calls:
    """Checks a call before its endpoint answers it."""

    def __init__(self, db: Database, auth: Auth, sessions: WorkerSessions) -> None:
        self._db, self._auth, self._sessions = db, auth, sessions

    async def token(self, request: Request) -> WorkerToken:
        """Raises Unauthenticated."""
        return await self._auth.worker(request)

    async def read(self, request: Request, kind: type[S]) -> S:
        """The message of a call. Raises Unauthenticated, InvalidRequest, TooLarge."""
        await self._auth.worker(request)
        return await read_message(request, kind, MAX_MESSAGE_BYTES)

    async def worker(self, request: Request, worker_id: str, incarnation: str) -> WorkerRef:
        """The worker behind a call.

        Raises StaleLease when a later incarnation of it has registered, Forbidden for a worker of a pool that the
        token is not for.
        """
        token = await self._auth.worker(request)
        worker = await self._sessions.identify(worker_id, incarnation)
        refuse_foreign_pool(token, worker.pool)
        return worker

    async def leased_run(self, request: Request) -> Run:
        """The run whose lease the call names. Raises Unauthenticated, StaleLease."""
        await self._auth.worker(request)
        found = await self._db.lookup(queue.leased, request.headers.get(LEASE_HEADER, ""))
        if found is None:
            raise StaleLease("The lease has expired or was given to another worker.")
        return found[0]


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
        return await task if task.done() else None
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)
