"""Workflows of v1: create, list, get, change, delete."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from comfyward.api import leniency
from comfyward.api.auth import Auth
from comfyward.api.body import answer, answer_beside, read_json
from comfyward.api.endpoint import NOTHING, Endpoint, Models
from comfyward.api.query import read_query
from comfyward.api.v1 import answers
from comfyward.api.v1.pages import PAGED, PageQuery
from comfyward.api.v1.shapes import Rendering
from comfyward.dispatch.bindings import Bindings
from comfyward.dispatch.conversion import SavedGraphs
from comfyward.ids import new_id
from comfyward.runs.run import DEFAULT_ENVIRONMENT
from comfyward.store import workflows
from comfyward.store.db import Database, now_ms
from comfyward.workflows.workflow import Workflow


class WorkflowRequest(leniency.Request):
    """A workflow to create, or the fields of one to change."""

    name: str | None = Field(None, min_length=1, max_length=200)
    description: str | None = Field(None, max_length=20_000)
    prompt: dict[str, Any] | None = Field(
        None, description="The graph to save: in API format, or as ComfyUI's editor saves it, which is converted."
    )
    workflow: dict[str, Any] | None = Field(None, description="The graph as ComfyUI's editor saves it.")
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
        """The columns to change, of the fields that were sent, without the graphs."""
        sent = self.model_fields_set
        values: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("name", "description", "tags", "visibility", "accelerator", "in_trials")
            if name in sent and (getattr(self, name) is not None or name in ("description", "accelerator"))
        }
        if "environment" in sent:
            values["environment"] = self.environment_name
        return values


class Workflows:
    def __init__(
        self,
        auth: Auth,
        db: Database,
        rendering: Rendering,
        bindings: Bindings,
        graphs: SavedGraphs,
        body_limit_bytes: int,
    ) -> None:
        self._auth, self._db, self._rendering, self._bindings = auth, db, rendering, bindings
        self._graphs, self._body_limit_bytes = graphs, body_limit_bytes

    def endpoints(self) -> list[Endpoint]:
        listed = Models(query=PageQuery, answer=list[answers.Workflow], answer_headers=PAGED)
        created = Models(body=WorkflowRequest, answer=answers.Workflow, status=201)
        changed = Models(body=WorkflowRequest, answer=answers.Workflow)
        one = "/workflows/{workflow_id}"
        return [
            Endpoint("POST", "/workflows", self.create, "Create a workflow", created),
            Endpoint("GET", "/workflows", self.find, "List workflows", listed),
            Endpoint("GET", one, self.get, "Get a workflow, in both forms", Models(answer=answers.WholeWorkflow)),
            Endpoint("PATCH", one, self.change, "Change a workflow", changed),
            Endpoint("DELETE", one, self.delete, "Delete a workflow; its runs stay readable", NOTHING),
        ]

    async def create(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        body = await self._read(request)
        graphs = await self._graphs.columns(caller.account.id, body.prompt, body.workflow, body.environment_name)
        now = now_ms()
        workflow = Workflow(
            id=new_id(),
            account_id=caller.account.id,
            name=body.name or "Untitled",
            created_at=now,
            updated_at=now,
            description=body.description,
            graph=graphs["graph"],
            editor_graph=graphs["editor_graph"],
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
        found = await self._db.read(workflows.listed, caller.account.id, query.before(), query.limit + 1)
        shapes, shown = self._rendering.of(request), found.rows[: query.limit]
        headers = query.headers(found)
        return await answer_beside(
            caller.account.id, found.size, lambda: [shapes.workflow(each) for each in shown], headers=headers
        )

    async def get(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        workflow = await self._db.lookup(workflows.get, caller.account.id, request.path_params["workflow_id"])
        return answer(self._rendering.of(request).whole_workflow(workflow))

    async def change(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        body = await self._read(request)
        workflow_id = request.path_params["workflow_id"]
        values = body.changes() | await self._changed_graphs(caller.account.id, workflow_id, body)
        workflow = await self._db.write(workflows.change, caller.account.id, workflow_id, values, now_ms())
        return self._shown(request, workflow)

    async def delete(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        await self._db.write(workflows.remove, caller.account.id, request.path_params["workflow_id"], now_ms())
        return Response(status_code=204)

    async def _read(self, request: Request) -> WorkflowRequest:
        """Raises InvalidRequest, InvalidEnvironment, TooLarge."""
        body = await read_json(request, WorkflowRequest, self._body_limit_bytes)
        await self._bindings.check(body.environment_name)
        return body

    async def _changed_graphs(self, account_id: str, workflow_id: str, body: WorkflowRequest) -> dict[str, Any]:
        """The columns of the graphs that were sent: the editor's one alone leaves the API's as it is."""
        sent = body.model_fields_set & {"prompt", "workflow"}
        if not sent:
            return {}
        environment = body.environment_name
        if "environment" not in body.model_fields_set:
            environment = (await self._db.lookup(workflows.place, account_id, workflow_id)).environment
        graphs = await self._graphs.columns(account_id, body.prompt, body.workflow, environment)
        is_editors = "workflow" in sent or graphs["editor_graph"] is not None
        kept = {name for name, is_kept in (("graph", "prompt" in sent), ("editor_graph", is_editors)) if is_kept}
        return {name: graph for name, graph in graphs.items() if name in kept}

    def _shown(self, request: Request, workflow: Workflow, status: int = 200) -> Response:
        return answer(self._rendering.of(request).workflow(workflow), status)
