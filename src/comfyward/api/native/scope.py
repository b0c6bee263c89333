"""The scope of a request to ComfyUI's API: an account, and within a workflow's path only that workflow.

ComfyUI has no keys of its own; its clients can send `Authorization: Bearer` or `Basic`, `X-API-Key`, `?token=` or a
cookie.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from comfyward.accounts.account import Caller
from comfyward.api.auth import Auth, key_of, refuse_foreign_origin
from comfyward.errors import NotFound, Unauthenticated
from comfyward.ids import KEY_PREFIX
from comfyward.runs.run import Run
from comfyward.store import accounts, runs, workflows
from comfyward.store.db import Database
from comfyward.store.runs import RunFilter
from comfyward.store.workflows import DEFAULT_ALIAS


@dataclass(frozen=True)
class Scope:
    """`workflow_id` is None for all of the account's workflows."""

    caller: Caller
    workflow_id: str | None

    @property
    def account_id(self) -> str:
        return self.caller.account.id

    @property
    def target_workflow_id(self) -> str:
        """The workflow of new runs."""
        return self.workflow_id or DEFAULT_ALIAS

    def runs(self, **more: object) -> RunFilter:
        return RunFilter(workflow_id=self.workflow_id, **more)  # type: ignore[arg-type]


class Scopes:
    """Finds the scope of requests.

    With `is_open` requests from this machine need no key and act as the admin; of pages in its browser, only those of
    `origins` may send them.
    """

    def __init__(self, db: Database, auth: Auth, origins: Collection[str], *, is_open: bool) -> None:
        self._db, self._auth, self._origins, self._is_open = db, auth, origins, is_open

    async def of(self, request: HTTPConnection) -> Scope:
        """Raises Unauthenticated, Forbidden, and NotFound for another account's workflow."""
        caller = await self._caller(request)
        workflow_id = request.path_params.get("workflow_id")
        if workflow_id is None:
            return Scope(caller, None)
        place = await self._db.lookup(workflows.place, caller.account.id, workflow_id)
        return Scope(caller, place.id)

    async def _caller(self, request: HTTPConnection) -> Caller:
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
        if not (_is_loopback(host) and _is_loopback(client)):
            raise Unauthenticated("Without a key this port answers requests from its own machine only.")
        refuse_foreign_origin(request, self._origins)
        return Caller(await self._db.lookup(accounts.admin), None)


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


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
