"""Whose ComfyUI a request sees: an account, and within a workflow's path only that workflow.

ComfyUI has no keys of its own; its clients can send `Authorization: Bearer` or `Basic`, `X-API-Key`, `?token=` or a
cookie.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from comfyward.accounts.account import Caller
from comfyward.api.auth import key_of, refuse_foreign_origin
from comfyward.api.context import Context
from comfyward.errors import Unauthenticated
from comfyward.ids import KEY_PREFIX
from comfyward.store import accounts, workflows
from comfyward.store.runs import RunFilter
from comfyward.store.workflows import DEFAULT_ALIAS


@dataclass(frozen=True)
class Scope:
    caller: Caller
    workflow_id: str | None  # None: all of the account's; new runs land in its default workflow

    @property
    def account_id(self) -> str:
        return self.caller.account.id

    @property
    def lands_in(self) -> str:
        return self.workflow_id or DEFAULT_ALIAS

    def runs(self, **more: object) -> RunFilter:
        """The runs that are seen."""
        return RunFilter(workflow_id=self.workflow_id, **more)  # type: ignore[arg-type]


class Scopes:
    """Finds the scope of requests. With `is_open` whoever is on this machine is the admin: for trying things out."""

    def __init__(self, context: Context, *, is_open: bool = False) -> None:
        self._context, self._is_open = context, is_open

    async def of(self, request: HTTPConnection) -> Scope:
        """Raises Unauthenticated, Forbidden, and NotFound for another account's workflow."""
        caller = await self._caller(request)
        workflow_id = request.path_params.get("workflow_id")
        if workflow_id is None:
            return Scope(caller, None)
        place = await self._context.db.lookup(workflows.place, caller.account.id, workflow_id)
        return Scope(caller, place.id)

    async def _caller(self, request: HTTPConnection) -> Caller:
        key = _key_of(request, self._is_open)
        if key:
            return await self._context.auth.caller_of(key)
        if (caller := await self._context.auth.by_session(request)) is not None:
            return caller
        if self._is_open:
            return await self._admin(request)
        raise Unauthenticated(
            "The request carries no API key.", hint="Send it as X-API-Key, as a bearer token or as ?token=."
        )

    async def _admin(self, request: HTTPConnection) -> Caller:
        """An open port is for this machine alone: neither another one nor a foreign page in its browser, save for one
        whose origin the operator lists by name."""
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
        client = request.client.host if request.client else ""
        if not (_is_loopback(host) and _is_loopback(client)):
            raise Unauthenticated("Without a key this port answers requests from its own machine only.")
        refuse_foreign_origin(request, self._context.settings.cors_origins)
        return Caller(await self._context.db.lookup(accounts.admin), None)


def _key_of(request: HTTPConnection, is_open: bool) -> str | None:
    """The key that a request carries. An open port needs none, so what is no key of ours is for somebody else there.

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
