"""The workflows of an account: their cards, and the page of one."""

from __future__ import annotations

from starlette.responses import Response

from comfyward.dispatch.checks import Checks
from comfyward.dispatch.conversion import SavedGraphs
from comfyward.errors import NotFound
from comfyward.ids import is_id
from comfyward.store import workflows
from comfyward.store.db import Database, now_ms
from comfyward.web.cards import card_values, search_of
from comfyward.web.environment_choices import described
from comfyward.web.graph_inputs import GraphInputs
from comfyward.web.missing_here import missing_here
from comfyward.web.pack_requests import workflow_values
from comfyward.web.page import Page
from comfyward.web.page_request import PageRequest
from comfyward.web.run_list import RunList
from comfyward.web.workflow_copies import WorkflowCopies
from comfyward.workflows.workflow import Workflow


class Workflows:
    def __init__(
        self,
        db: Database,
        checks: Checks,
        inputs: GraphInputs,
        run_list: RunList,
        copies: WorkflowCopies,
        graphs: SavedGraphs,
    ) -> None:
        self._db, self._checks = db, checks
        self._inputs, self._run_list, self._copies, self._graphs = inputs, run_list, copies, graphs

    def pages(self) -> list[Page]:
        return [
            Page("GET", "/workflows", self.list_all, "All workflows of the account"),
            Page("GET", "/workflows/{workflow_id}", self.show, "A workflow: its form and its runs"),
            Page("POST", "/workflows/{workflow_id}/duplicate", self.duplicate, "Copy a workflow"),
            Page("POST", "/workflows/{workflow_id}/delete", self.delete, "Delete a workflow"),
            Page("POST", "/workflows/{workflow_id}/restore", self.restore, "Undo the deletion of a workflow"),
        ]

    async def list_all(self, request: PageRequest) -> Response:
        search, account_id = search_of(request), request.account.id
        values = card_values(await self._db.read(workflows.cards, account_id, search), search, "/workflows")
        if request.is_partial:
            return request.render("cards.part.html", **values)
        deleted = request.query("deleted") if is_id(request.query("deleted")) else None
        tags = await self._db.read(workflows.tags, account_id)
        return request.render("workflows.html", **values, tags=tags, deleted=deleted)

    async def show(self, request: PageRequest) -> Response:
        workflow = await self._db.lookup(workflows.get, request.account.id, request["workflow_id"])
        values = await self._run_list.values(request, workflow.id)
        if request.is_partial:
            return request.render("runs.part.html", **values)
        workflow = await self._graphs.completed(workflow)
        missing = await missing_here(self._checks, workflow)
        values |= await self._inputs.form(workflow)
        values |= {"missing": missing, "wanted": missing.wanted, "parent": await self._parent(workflow)}
        values["environment"] = await self._db.read(described, workflow.environment)
        if values["wanted"]:
            is_admin = request.account.is_admin
            values |= await self._db.read(
                lambda conn: workflow_values(conn, workflow.account_id, workflow.id, is_admin=is_admin)
            )
        return request.render("workflow.html", **values, workflow=workflow, tab="run")

    async def duplicate(self, request: PageRequest) -> Response:
        source = await self._db.lookup(workflows.get, request.account.id, request["workflow_id"])
        copy = await self._copies.create(request.account.id, source, f"{source.name} (copy)"[:200])
        return request.redirect(f"/workflows/{copy.id}")

    async def delete(self, request: PageRequest) -> Response:
        workflow = await self._db.write(workflows.remove, request.account.id, request["workflow_id"], now_ms())
        return request.redirect(f"/workflows?deleted={workflow.id}")

    async def restore(self, request: PageRequest) -> Response:
        workflow = await self._db.write(workflows.restore, request.account.id, request["workflow_id"], now_ms())
        return request.redirect(f"/workflows/{workflow.id}")

    async def _parent(self, workflow: Workflow) -> Workflow | None:
        """The workflow that this one is a copy of, as long as the account can see it."""
        if workflow.parent_workflow_id is None:
            return None
        try:
            return await self._db.lookup(workflows.visible, workflow.account_id, workflow.parent_workflow_id)
        except NotFound:
            return None
