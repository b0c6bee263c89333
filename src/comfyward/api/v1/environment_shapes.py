"""Environments as v1 shows them to admins."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection
from starlette.requests import Request

from comfyward.api.auth import Auth
from comfyward.api.times import iso
from comfyward.api.whole_numbers import whole_number
from comfyward.dispatch.environment_overviews import overview
from comfyward.dispatch.lockings import found_of
from comfyward.errors import Forbidden, InvalidRequest
from comfyward.store import lockings
from comfyward.store.lockings import ACCEPT, Locking

MAX_REVISION = (1 << 31) - 1


async def check_admin(auth: Auth, request: Request) -> None:
    """Raises Unauthenticated, Forbidden."""
    if not (await auth.caller(request)).account.is_admin:
        raise Forbidden("Only admins can change environments.")


def environment_json(conn: Connection, name: str, now: int) -> dict[str, Any]:
    """An environment with its revisions, and its last locking. Raises NotFound."""
    shown = overview(conn, name, now)
    latest = lockings.latest(conn, name)
    return {
        **shown,
        "revisions": [with_times(each) for each in shown["revisions"]],
        "locking": latest and locking_json(latest),
    }


def locking_json(locking: Locking) -> dict[str, Any]:
    """A locking; its texts are sentences for admins."""
    found = found_of(locking)
    return {
        "id": locking.id,
        "environment": locking.name,
        "kind": locking.kind,
        "then": None if locking.next == ACCEPT else locking.next or None,
        "state": locking.state,
        "step": locking.step,
        "part": locking.part,
        "message": locking.message,
        "hint": locking.hint,
        "revision": locking.revision or None,
        "is_new": locking.is_new,
        "changes": [vars(change) for change in found.changes] if found else [],
        "offers": [vars(offer) for offer in found.offers] if found else [],
        "notes": found.notes if found else [],
        "created_at": iso(locking.created_at),
        "finished_at": iso(locking.finished_at),
    }


def with_times(revision: dict[str, Any]) -> dict[str, Any]:
    """A revision with its times as text."""
    times = {"created_at": iso(revision["created_at"]), "asked_at": iso(revision["asked_at"])}
    hosts = [{**host, "changed_at": iso(host["changed_at"])} for host in revision["hosts"]]
    return {**revision, **times, "hosts": hosts}


def number_in(text: str) -> int:
    """The number of a revision in a path or query. Raises InvalidRequest."""
    number = whole_number(text, most=MAX_REVISION)
    if number is None:
        raise InvalidRequest(f"'{text}' is not the number of a revision.")
    return number
