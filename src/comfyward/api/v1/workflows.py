"""Workflows of v1: create, list, get, change, delete."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from comfyward.api import leniency
from comfyward.api.auth import Auth
from comfyward.api.body import answer, owner_of, read_json
from comfyward.api.endpoint import NOTHING, Endpoint, Models
from comfyward.api.limits import RequestLimits
from comfyward.api.query import read_query
from comfyward.api.v1 import answers
from comfyward.api.v1.pages import PAGED, PageQuery
from comfyward.api.v1.shapes import Rendering
from comfyward.dispatch.bindings import Bindings
from comfyward.dispatch.heavy import HEAVY
from comfyward.ids import new_id
from comfyward.runs.run import DEFAULT_ENVIRONMENT
from comfyward.store import workflows
from comfyward.store.db import Database, now_ms
from comfyward.workflows.graph import parse_graph
from comfyward.workflows.workflow import Workflow


class WorkflowRequest(leniency.Request):
    """A workflow to create, or the fields of one to change."""

    name: str | None = Field(None, min_length=1, max_length=200)
    description: str | None = Field(None, max_length=20_000)
    prompt: dict[str, Any] | None = Field(None, description="The saved graph in API format.")
    workflow: dict[str, Any] | None = Field(None, description="The editor's graph.")
    tags: list[Annotated[str, Field(max_length=100)]] | None = Field(None, max_length=50)
    visibility: Literal["PRIVATE", "PUBLIC"] | None = None
    accelerator: str | None = Field(None, max_length=60)
    environment: str | None = Field(
        None, max_length=120, description="`default`, `NAME` (its current revision), or `NAME@REVISION`."
    )
    in_trials: bool | None = Field(
        None, description="Trials of revisions of its environment repeat its last good run, and compare what it makes."
    )

    @property
    def environment_name(self) -> str:
        return "" if self.environment in (None, DEFAULT_ENVIRONMENT) else str(self.environment)

    def changes(self) -> dict[str, Any]:
        """The columns to change, of the fields that were sent."""
        sent = self.model_fields_set
        values: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("name", "description", "tags", "visibility", "accelerator", "in_trials")
            if name in sent and (getattr(self, name) is not None or name in ("description", "accelerator"))
        }
        if "environment" in sent:
            values["environment"] = self.environment_name
        if "prompt" in sent:
            values["graph"] = _text(self.prompt)
        if "workflow" in sent:
            values["editor_graph"] = _text(self.workflow)
        return values


class Workflows:
    def __init__(
        self, auth: Auth, db: Database, rendering: Rendering, bindings: Bindings, limits: RequestLimits
    ) -> None:
        self._auth, self._db, self._rendering, self._limits = auth, db, rendering, limits
        self._bindings = bindings

    def endpoints(self) -> list[Endpoint]:
        listed = Models(query=PageQuery, answer=list[answers.Workflow], answer_headers=PAGED)
        created = Models(body=WorkflowRequest, answer=answers.Workflow, status=201)
        changed = Models(body=WorkflowRequest, answer=answers.Workflow)
        one = "/workflows/{workflow_id}"
        return [
            Endpoint("POST", "/workflows", self.create, "Create a workflow", created),
            Endpoint("GET", "/workflows", self.find, "List workflows", listed),
            Endpoint("GET", one, self.get, "Get a workflow", Models(answer=answers.Workflow)),
            Endpoint("PATCH", one, self.change, "Change a workflow", changed),
            Endpoint("DELETE", one, self.delete, "Delete a workflow; its runs stay readable", NOTHING),
        ]

    async def create(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        body = await self._read(request)
        now = now_ms()
        workflow = Workflow(
            id=new_id(),
            account_id=caller.account.id,
            name=body.name or "Untitled",
            created_at=now,
            updated_at=now,
            description=body.description,
            graph=_text(body.prompt),
            editor_graph=_text(body.workflow),
            tags=body.tags or [],
            visibility=body.visibility or "PRIVATE",
            accelerator=body.accelerator,
            environment=body.environment_name,
            in_trials=bool(body.in_trials),
        )
        await self._db.write(workflows.create, workflow)
        return self._shown(request, workflow, 201)

    async def find(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        query = read_query(request, PageQuery)
        found = await self._db.read(workflows.find, caller.account.id, query.before(), query.limit + 1)
        shapes = self._rendering.of(request)
        shown = [shapes.workflow(workflow) for workflow in found[: query.limit]]
        return answer(shown, headers=query.headers(found))

    async def get(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        workflow = await self._db.lookup(workflows.get, caller.account.id, request.path_params["workflow_id"])
        return self._shown(request, workflow)

    async def change(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        body = await self._read(request)
        workflow_id, values = request.path_params["workflow_id"], body.changes()
        workflow = await self._db.write(workflows.change, caller.account.id, workflow_id, values, now_ms())
        return self._shown(request, workflow)

    async def delete(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        await self._db.write(workflows.remove, caller.account.id, request.path_params["workflow_id"], now_ms())
        return Response(status_code=204)

    async def _read(self, request: Request) -> WorkflowRequest:
        """Raises InvalidRequest, InvalidEnvironment, InvalidGraph, TooLarge."""
        body = await read_json(request, WorkflowRequest, self._limits.body)
        await self._bindings.check(body.environment_name)
        self._limits.graph.size_of(body.workflow)
        size = self._limits.graph.size_of(body.prompt)
        await HEAVY.run(owner_of(request), size, lambda: body.prompt is None or parse_graph(body.prompt))
        return body

    def _shown(self, request: Request, workflow: Workflow, status: int = 200) -> Response:
        return answer(self._rendering.of(request).workflow(workflow), status)


def _text(value: Any) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()
