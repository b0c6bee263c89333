"""Packs that workflows need: an admin makes a draft of them, a member asks an admin to."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection
from starlette.responses import Response

from comfyward.dispatch import drafts
from comfyward.environments.wanted import Wanted, wanted_from, wanted_json
from comfyward.store import environments, pack_requests, workflows
from comfyward.store.db import Database, now_ms
from comfyward.store.pack_requests import ACCEPTED, DECLINED
from comfyward.web.graph_inputs import GraphInputs
from comfyward.web.page import Access, Page
from comfyward.web.page_request import PageRequest, text_of
from comfyward.web.problems import PageError


class PackRequests:
    def __init__(self, db: Database, inputs: GraphInputs) -> None:
        self._db, self._inputs = db, inputs

    def pages(self) -> list[Page]:
        one = "/environment-requests/{request_id}"
        return [
            Page("POST", "/workflows/{workflow_id}/draft", self.draft, "Make a draft of what it needs", Access.ADMINS),
            Page("POST", "/workflows/{workflow_id}/ask", self.ask, "Ask an admin for what a workflow needs"),
            Page("POST", f"{one}/accept", self.accept, "Make a draft of a request", Access.ADMINS),
            Page("POST", f"{one}/decline", self.decline, "Decline a request", Access.ADMINS),
        ]

    async def draft(self, request: PageRequest) -> Response:
        workflow = await self._db.lookup(workflows.get, request.account.id, request["workflow_id"])
        wanted = _needed(await self._inputs.wanted(workflow))
        into = text_of(await request.form(), "environment", 100)
        name = await self._db.write(drafts.draft, wanted, into, workflow.name, now_ms())
        return request.redirect(f"/environments/{name}/edit")

    async def ask(self, request: PageRequest) -> Response:
        workflow = await self._db.lookup(workflows.get, request.account.id, request["workflow_id"])
        wanted = _needed(await self._inputs.wanted(workflow))
        asked = (request.account.id, workflow.id, wanted_json(wanted), wanted.comfyui)
        await self._db.write(pack_requests.ask, *asked, now_ms())
        return request.redirect(f"/workflows/{workflow.id}")

    async def accept(self, request: PageRequest) -> Response:
        into = text_of(await request.form(), "environment", 100)
        name = await self._db.write(_accept, request["request_id"], into, now_ms())
        return request.redirect(f"/environments/{name}/edit")

    async def decline(self, request: PageRequest) -> Response:
        reply = text_of(await request.form(), "reply", 500, "the reason")
        await self._db.write(lambda conn: _decline(conn, request["request_id"], reply, now_ms()))
        return request.redirect("/environments")


def _needed(wanted: Wanted) -> Wanted:
    """The same. Raises PageError if nothing is known that can be added."""
    if not wanted:
        raise PageError("Nothing is missing that an environment could have.", status=409)
    return wanted


def _accept(conn: Connection, request_id: str, into: str, now: int) -> str:
    found = pack_requests.get(conn, request_id)
    name = drafts.draft(conn, wanted_from(found.packs, found.comfyui), into, f"for {found.account}", now)
    pack_requests.decide(conn, request_id, ACCEPTED, now, environment=name)
    return name


def _decline(conn: Connection, request_id: str, reply: str, now: int) -> None:
    pack_requests.decide(conn, request_id, DECLINED, now, reply=reply)


def workflow_values(conn: Connection, account_id: str, workflow_id: str, *, is_admin: bool) -> dict[str, Any]:
    """The values that a workflow's page shows beside what it needs: an admin's choice, a member's request."""
    if is_admin:
        return {"drafts": [each.name for each in environments.find(conn)], "asked": None}
    return {"drafts": [], "asked": pack_requests.of_workflow(conn, account_id, workflow_id)}
