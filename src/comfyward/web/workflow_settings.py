"""The settings of a workflow."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from comfyward.dispatch.bindings import Bindings
from comfyward.dispatch.inventory import Inventory
from comfyward.runs.run import DEFAULT_ENVIRONMENT
from comfyward.store import workflows
from comfyward.store.db import Database, now_ms
from comfyward.web.environment_choices import choices
from comfyward.web.page import Page
from comfyward.web.page_request import PageRequest, text_of
from comfyward.web.problems import PageError

MAX_TAGS = 20


class WorkflowSettings:
    def __init__(self, db: Database, inventory: Inventory, bindings: Bindings) -> None:
        self._db, self._inventory, self._bindings = db, inventory, bindings

    def pages(self) -> list[Page]:
        path = "/workflows/{workflow_id}/settings"
        return [
            Page("GET", path, self.show, "The settings of a workflow"),
            Page("POST", path, self.change, "Change the settings of a workflow"),
        ]

    async def show(self, request: PageRequest) -> Response:
        workflow = await self._db.lookup(workflows.get, request.account.id, request["workflow_id"])
        return request.render(
            "workflow_settings.html",
            workflow=workflow,
            pools=await self._inventory.pools(),
            environments=await self._db.read(choices, workflow.environment),
            tab="settings",
        )

    async def change(self, request: PageRequest) -> Response:
        form = await request.form()
        name = text_of(form, "name", 200)
        if not name:
            raise PageError("Enter a name for the workflow.")
        tags = [tag.strip() for tag in text_of(form, "tags").split(",") if tag.strip()]
        values: dict[str, Any] = {
            "name": name,
            "description": text_of(form, "description", 20_000) or None,
            "tags": list(dict.fromkeys(tags))[:MAX_TAGS],
            "visibility": "PUBLIC" if text_of(form, "visibility") == "PUBLIC" else "PRIVATE",
            "accelerator": text_of(form, "accelerator", 60) or None,
            "in_trials": text_of(form, "in_trials") == "yes",
        }
        if "environment" in form:
            values["environment"] = await self._environment(request, text_of(form, "environment", 120))
        workflow = await self._db.write(workflows.change, request.account.id, request["workflow_id"], values, now_ms())
        return request.redirect(f"/workflows/{workflow.id}")

    async def _environment(self, request: PageRequest, chosen: str) -> str:
        """The choice itself. Raises InvalidEnvironment, unless the workflow had it already: it may be gone since."""
        if chosen == DEFAULT_ENVIRONMENT:
            return ""
        workflow = await self._db.lookup(workflows.get, request.account.id, request["workflow_id"])
        if chosen != workflow.environment:
            await self._bindings.check(chosen)
        return chosen
