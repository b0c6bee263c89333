"""The scope of a request to ComfyUI's API: an account, and within a workflow's path only that workflow.

ComfyUI has no keys of its own; its clients can send `Authorization: Bearer` or `Basic`, `X-API-Key`, `?token=` or a
cookie.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from comfyward.accounts.account import Caller
from comfyward.api.auth import Auth, key_of, refuse_foreign_origin
from comfyward.api.editor_address import is_loopback
from comfyward.api.tickets import Ticket, Tickets, expired
from comfyward.errors import NotFound, Unauthenticated
from comfyward.ids import KEY_PREFIX
from comfyward.runs.run import Run
from comfyward.store import accounts, runs, sessions, workflows
from comfyward.store.db import Database, now_ms
from comfyward.store.runs import RunFilter
from comfyward.store.workflows import DEFAULT_ALIAS


@dataclass(frozen=True)
class Scope:
    """`workflow_id` is None for all of the account's workflows.

    With `is_bound` the request may learn nothing of other workflows, by whatever name. Without, a name of a file finds
    the results of all: the path is then a convenience of an account that may see them anyway.
    """

    caller: Caller
    workflow_id: str | None
    is_bound: bool = False

    @property
    def account_id(self) -> str:
        return self.caller.account.id

    @property
    def target_workflow_id(self) -> str:
        """The workflow of new runs."""
        return self.workflow_id or DEFAULT_ALIAS

    @property
    def results_of(self) -> str | None:
        """The only workflow whose results the request may see; None for all."""
        return self.workflow_id if self.is_bound else None

    def runs(self, **more: object) -> RunFilter:
        return RunFilter(workflow_id=self.workflow_id, **more)  # type: ignore[arg-type]


class Callers(Protocol):
    """Finds who sent a request. `is_bound` is True if they may use the path's workflow alone."""

    is_bound: bool

    async def of(self, request: HTTPConnection) -> Caller:
        """The caller. Raises Unauthenticated, Forbidden."""
        ...


class Scopes:
    """Finds the scope of requests."""

    def __init__(self, db: Database, callers: Callers) -> None:
        self._db, self._callers = db, callers

    async def of(self, request: HTTPConnection) -> Scope:
        """Raises Unauthenticated, Forbidden, and NotFound for another account's workflow."""
        caller = await self._callers.of(request)
        request.state.owner = caller.account.id
        workflow_id = request.path_params.get("workflow_id")
        if workflow_id is None:
            return Scope(caller, None, self._callers.is_bound)
        place = await self._db.lookup(workflows.place, caller.account.id, workflow_id)
        return Scope(caller, place.id, self._callers.is_bound)


class ByKey:
    """Callers by their key or their browser's session.

    With `is_open` requests from this machine need no key and act as the admin; of pages in its browser, only those of
    `origins` may send them.
    """

    is_bound = False

    def __init__(self, db: Database, auth: Auth, origins: Collection[str], *, is_open: bool) -> None:
        self._db, self._auth, self._origins, self._is_open = db, auth, origins, is_open

    async def of(self, request: HTTPConnection) -> Caller:
        key = _key_of(request, self._is_open)
        if key:
            return await self._auth.caller_of(key)
        if (caller := await self._auth.by_session(request)) is not None:
            return caller
        if self._is_open:
            return await self._admin(request)
        raise Unauthenticated(
            "The request carries no API key.", hint="Send it as X-API-Key, as a bearer token or as ?token=."
        )

    async def _admin(self, request: HTTPConnection) -> Caller:
        """The admin, for a request from this machine. Raises Unauthenticated, Forbidden."""
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
        client = request.client.host if request.client else ""
        if not (is_loopback(host) and is_loopback(client)):
            raise Unauthenticated("Without a key this port answers requests from its own machine only.")
        refuse_foreign_origin(request, self._origins)
        return Caller(await self._db.lookup(accounts.admin), None)


class ByTicket:
    """Callers by the ticket in the path: frames of the editor, on its own origin. Nothing else counts there.

    With `lasts` a ticket that has expired counts as long as its session.
    """

    is_bound = True

    def __init__(self, db: Database, tickets: Tickets, *, lasts: bool = False) -> None:
        self._db, self._tickets, self._lasts = db, tickets, lasts

    async def of(self, request: HTTPConnection) -> Caller:
        refuse_foreign_origin(request)
        now = now_ms()
        # A websocket that began in time goes on: it is asked for again and again while it lasts.
        ticket: Ticket | None = getattr(request.state, "ticket", None)
        if ticket is None:
            ticket = self._tickets.read(request.path_params["ticket"], request.path_params.get("workflow_id", ""))
            if ticket.has_expired(now) and not self._lasts:
                raise expired()
            request.state.ticket = ticket
        caller = await self._db.lookup(sessions.caller_by_id, ticket.session_id, now)
        if caller is None:
            raise expired()
        return caller


async def find_run(db: Database, scope: Scope, prompt_id: str) -> Run | None:
    """The run of the scope that has a prompt id."""
    try:
        run = await db.lookup(runs.by_prompt_id, scope.account_id, prompt_id)
    except NotFound:
        return None
    return run if scope.workflow_id in (None, run.workflow_id) else None


def _key_of(request: HTTPConnection, is_open: bool) -> str | None:
    """The key that a request carries. An open port needs none, so it ignores what is no key of ours.

    Raises Unauthenticated.
    """
    key = request.headers.get("x-api-key") or request.query_params.get("token")
    try:
        key = key_of(request) if "authorization" in request.headers else key
    except Unauthenticated:
        if not is_open:
            raise
    return None if is_open and key and not key.startswith(KEY_PREFIX) else key
