"""Packs that workflows need: an admin makes a draft of them, a member asks an admin to."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection
from starlette.responses import Response

from comfyward.dispatch import drafts, wanted_packs
from comfyward.dispatch.checks import Checks
from comfyward.store import environments, pack_requests, workflows
from comfyward.store.db import Database, now_ms
from comfyward.web.page import Access, Page
from comfyward.web.page_request import PageRequest, text_of


class PackRequests:
    def __init__(self, db: Database, checks: Checks) -> None:
        self._db, self._checks = db, checks

    def pages(self) -> list[Page]:
        one = "/environment-requests/{request_id}"
        return [
            Page("POST", "/workflows/{workflow_id}/draft", self.draft, "Make a draft of what it needs", Access.ADMINS),
            Page("POST", "/workflows/{workflow_id}/ask", self.ask, "Ask an admin for what a workflow needs"),
            Page("POST", f"{one}/withdraw", self.withdraw, "Withdraw a request of one's own"),
            Page("POST", f"{one}/accept", self.accept, "Make a draft of a request", Access.ADMINS),
            Page("POST", f"{one}/decline", self.decline, "Decline a request", Access.ADMINS),
        ]

    async def draft(self, request: PageRequest) -> Response:
        workflow = await self._db.lookup(workflows.get, request.account.id, request["workflow_id"])
        wanted = wanted_packs.needed_by(await self._checks.of_workflow(workflow, asks=False))
        into = text_of(await request.form(), "environment", 100)
        name = await self._db.write(drafts.draft, wanted, into, workflow.name, now_ms())
        return request.redirect(f"/environments/{name}/edit")

    async def ask(self, request: PageRequest) -> Response:
        workflow = await self._db.lookup(workflows.get, request.account.id, request["workflow_id"])
        wanted = wanted_packs.needed_by(await self._checks.of_workflow(workflow, asks=False))
        await self._db.write(wanted_packs.ask, workflow, wanted, now_ms())
        return request.redirect(f"/workflows/{workflow.id}")

    async def withdraw(self, request: PageRequest) -> Response:
        await self._db.write(pack_requests.withdraw, request.account.id, request["request_id"])
        return request.redirect("/environments")

    async def accept(self, request: PageRequest) -> Response:
        into = text_of(await request.form(), "environment", 100)
        name = await self._db.write(wanted_packs.accept, request["request_id"], into, now_ms())
        return request.redirect(f"/environments/{name}/edit")

    async def decline(self, request: PageRequest) -> Response:
        reply = text_of(await request.form(), "reply", 500, "the reason")
        await self._db.write(wanted_packs.decline, request["request_id"], reply, now_ms())
        return request.redirect("/environments")


def workflow_values(conn: Connection, account_id: str, workflow_id: str, *, is_admin: bool) -> dict[str, Any]:
    """The values that a workflow's page shows beside what it needs: an admin's choice, a member's request."""
    if is_admin:
        return {"drafts": [each.name for each in environments.find(conn)], "asked": None}
    return {"drafts": [], "asked": pack_requests.of_workflow(conn, account_id, workflow_id)}
