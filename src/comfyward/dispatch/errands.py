"""Errands: what is being got for a workflow, each a row that is there for another reason too. (`jobs` in v1.)

import-ID         a model that the server fetches
environment-NAME  the next revision of an environment, until its trial is over; for admins
request-ID        a member's request that an admin adds packs
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection

from comfyward.accounts.account import Account
from comfyward.dispatch.environment_overviews import overview
from comfyward.dispatch.imports import Imports
from comfyward.dispatch.lockings import Lockings
from comfyward.errors import Forbidden, NotFound
from comfyward.store import environments, imports, lockings, pack_requests
from comfyward.store.db import Database, now_ms
from comfyward.store.imports import Import
from comfyward.store.lockings import Locking
from comfyward.store.pack_requests import PackRequest


class ErrandKind(StrEnum):
    IMPORT = "import"
    ENVIRONMENT = "environment"
    REQUEST = "request"


class ErrandState(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_over(self) -> bool:
        return self in (ErrandState.DONE, ErrandState.FAILED, ErrandState.CANCELLED)


@dataclass(frozen=True)
class Errand:
    """`what` is the path of a model, or the name of an environment; `done` and `total` are bytes, `part` is 0 to 1.

    `environment` is the one to run in once this is done.
    """

    id: str
    kind: ErrandKind
    what: str
    state: ErrandState
    step: str = ""
    done: int | None = None
    total: int | None = None
    part: float | None = None
    message: str = ""
    environment: str | None = None


class Errands:
    def __init__(self, db: Database, importer: Imports, lockings: Lockings) -> None:
        self._db, self._importer, self._lockings = db, importer, lockings

    async def get(self, account: Account, errand_id: str) -> Errand:
        """Raises NotFound, and Forbidden for an environment if the account is no admin's."""
        return await self._db.read(find, account, errand_id, now_ms())

    async def cancel(self, account: Account, errand_id: str) -> None:
        """Ends one that is not over. Raises NotFound, Forbidden, Conflict."""
        kind, key = _parsed(account, errand_id)
        match kind:
            case ErrandKind.IMPORT:
                await self._db.write(imports.remove, account.id, key)
                self._importer.changed()
            case ErrandKind.ENVIRONMENT:
                await self._lockings.cancel(key)
            case ErrandKind.REQUEST:
                await self._db.write(pack_requests.withdraw, account.id, key)


def find(conn: Connection, account: Account, errand_id: str, now: int) -> Errand:
    """An errand of an account. Raises NotFound, Forbidden."""
    kind, key = _parsed(account, errand_id)
    match kind:
        case ErrandKind.IMPORT:
            return _of_import(imports.get(conn, account.id, key))
        case ErrandKind.ENVIRONMENT:
            return of_environment(conn, key, now)
        case ErrandKind.REQUEST:
            found = pack_requests.get(conn, key)
            if found.account_id != account.id:
                raise NotFound("There is no such request.")
            return _of_request(found)


def id_of(kind: ErrandKind, key: str) -> str:
    return f"{kind}-{key}"


def _parsed(account: Account, errand_id: str) -> tuple[ErrandKind, str]:
    kind, _, key = errand_id.partition("-")
    if kind not in list(ErrandKind) or not key:
        raise NotFound("There is no such job.", hint="POST /api/v1/workflows/get lists those that it begins.")
    if kind == ErrandKind.ENVIRONMENT and not account.is_admin:
        raise Forbidden("Only admins can see how environments are made.")
    return ErrandKind(kind), key


def _of_import(found: Import) -> Errand:
    begun = ErrandState.RUNNING if found.done_bytes or found.total_bytes else ErrandState.WAITING
    state = {"waiting": begun, "done": ErrandState.DONE, "failed": ErrandState.FAILED}[found.state]
    return Errand(
        id_of(ErrandKind.IMPORT, found.id),
        ErrandKind.IMPORT,
        found.path,
        state,
        done=found.total_bytes if state is ErrandState.DONE and found.total_bytes else found.done_bytes,
        total=found.total_bytes,
        message=found.failure or "",
    )


def _of_request(found: PackRequest) -> Errand:
    states = {
        pack_requests.WAITING: ErrandState.WAITING,
        pack_requests.ACCEPTED: ErrandState.DONE,
        pack_requests.DECLINED: ErrandState.FAILED,
    }
    return Errand(
        id_of(ErrandKind.REQUEST, found.id),
        ErrandKind.REQUEST,
        ", ".join(str(pack["name"]) for pack in found.packs) or f"ComfyUI {found.comfyui}",
        states[found.state],
        step="Waiting for an admin" if found.state == pack_requests.WAITING else "",
        message=found.reply,
        environment=found.environment or None,
    )


def of_environment(conn: Connection, name: str, now: int) -> Errand:
    """The progress of the next revision of an environment. Raises NotFound."""
    environments.get(conn, name)
    empty = Errand(id_of(ErrandKind.ENVIRONMENT, name), ErrandKind.ENVIRONMENT, name, ErrandState.WAITING)
    latest = lockings.latest(conn, name)
    if latest is None:
        return empty
    if latest.state != lockings.DONE:
        return _of_locking(empty, latest)
    (revision,) = overview(conn, name, now, latest.revision)["revisions"] or [None]
    return empty if revision is None else _of_revision(empty, latest, revision)


def _of_locking(errand: Errand, latest: Locking) -> Errand:
    states = {
        lockings.WAITING: ErrandState.WAITING,
        lockings.LOCKING: ErrandState.RUNNING,
        lockings.BROKEN: ErrandState.FAILED,
        lockings.CANCELLED: ErrandState.CANCELLED,
    }
    state = states.get(latest.state, ErrandState.WAITING)
    return replace(errand, state=state, step=latest.step, part=latest.part, message=latest.message)


def _of_revision(errand: Errand, latest: Locking, revision: Mapping[str, Any]) -> Errand:
    """A revision that workers build and try; it is over once they have, and it is current if that was asked."""
    hosts = [host for host in revision["hosts"] if host["state"] == revision["state"]]
    step, part = next(((host["step"], host["part"]) for host in hosts), ("", None))
    match revision["state"]:
        case "current":
            return replace(errand, state=ErrandState.DONE, environment=errand.what)
        case "ready" if latest.next != lockings.PROMOTE:
            return replace(errand, state=ErrandState.DONE, environment=revision["revision"])
        case "ready":
            return replace(errand, state=ErrandState.RUNNING, step="Waiting for all workers that are there")
        case "failed":
            told = next((host["message"] for host in hosts), "")
            return replace(errand, state=ErrandState.FAILED, message=told or "Its trial failed.")
        case "locked":
            return replace(errand, state=ErrandState.RUNNING, step="Waiting for a worker to build it")
        case _:
            return replace(errand, state=ErrandState.RUNNING, step=step, part=part)
