"""Packs that workflows want: found for one, asked for by members, accepted or declined by admins."""

from __future__ import annotations

from sqlalchemy import Connection

from comfyward.dispatch import drafts
from comfyward.environments.wanted import Wanted, wanted_from, wanted_json
from comfyward.errors import Conflict
from comfyward.store import pack_requests
from comfyward.store.pack_requests import ACCEPTED, DECLINED
from comfyward.workflows.check import Check
from comfyward.workflows.workflow import Workflow


def wanted_by(check: Check) -> Wanted:
    """The packs and versions that a workflow's environment lacks and another one could have."""
    return Wanted.of({each.name: each.offers for each in check.classes})


def needed_by(check: Check) -> Wanted:
    """The same. Raises Conflict if nothing is known that can be added."""
    wanted = wanted_by(check)
    if not wanted:
        raise Conflict("Nothing is missing that an environment could have.")
    return wanted


def ask(conn: Connection, workflow: Workflow, wanted: Wanted, now: int) -> str:
    """Asks the admins for what a workflow wants. Returns the id of the request. Raises Conflict."""
    asked = (workflow.account_id, workflow.id, wanted_json(wanted), wanted.comfyui)
    return pack_requests.ask(conn, *asked, now)


def accept(conn: Connection, request_id: str, into: str, now: int) -> str:
    """Makes a draft of what was asked for. Returns its environment. Raises NotFound, Conflict, InvalidEnvironment."""
    found = pack_requests.get(conn, request_id)
    name = drafts.draft(conn, wanted_from(found.packs, found.comfyui), into, f"for {found.account}", now)
    pack_requests.decide(conn, request_id, ACCEPTED, now, environment=name)
    return name


def decline(conn: Connection, request_id: str, reply: str, now: int) -> None:
    """Raises NotFound, Conflict."""
    pack_requests.decide(conn, request_id, DECLINED, now, reply=reply)
