"""/api/v1: ComfyICU's API for runs and workflows, extended. Its clients work when only the host name is changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field
from starlette.routing import Route

from comfyward.api import leniency
from comfyward.api.body import answer, read_json, schema_of, streamed
from comfyward.api.context import Context
from comfyward.api.own_urls import resolve_own
from comfyward.api.paging import InvalidCursor, cursor_of, moment_of
from comfyward.api.shapes import API_PREFIX, Shapes, iso
from comfyward.api.whole_numbers import LARGEST, whole_number
from comfyward.delivery.stream import stream_events, wait_until_over
from comfyward.dispatch.forecast import QueueForecast
from comfyward.dispatch.intake import PRIORITIES, Submission
from comfyward.errors import Conflict, InvalidRequest, NotFound
from comfyward.ids import new_id
from comfyward.runs.files import Inline, parse_files
from comfyward.runs.run import EndReason, PublicStatus, Run, State, states_of
from comfyward.store import runs, workflows
from comfyward.store.db import now_ms
from comfyward.store.runs import RunFilter
from comfyward.workflows.graph import parse_graph
from comfyward.workflows.workflow import Workflow

MAX_LISTED = 300  # what ComfyICU's own list holds
MAX_INLINE_BYTES = 8 << 20
MAX_KEY_LENGTH = 200
MAX_WAIT_S = 60

_Wait = Annotated[float, Query(ge=0, le=MAX_WAIT_S, description="Seconds to wait until the run is over.")]


class RunRequest(leniency.Request):
    """A run to make. The path's workflow decides; `workflow_id` is accepted for ComfyICU's clients."""

    prompt: Any = Field(None, description="The graph in ComfyUI's API format. Default: the workflow's saved graph.")
    files: Any = Field(
        None,
        description='Files to place before the run: {"/input/a.png": "https://…"}. A value is a URL, a data: URL, '
        "or {url, digest, headers}.",
        examples=[{"/models/loras/style.safetensors": "https://host/style.safetensors"}],
    )
    accelerator: str | None = Field(None, max_length=60, description="A name that GET /accelerators lists.")
    webhook: str | None = Field(None, max_length=2000, description="URL that is told when the run starts and ends.")
    extra_data: dict[str, Any] | None = Field(None, description="ComfyUI's extra_data, e.g. the editor's graph.")
    workflow_id: str | None = None
    priority: int = Field(0, ge=PRIORITIES[0], le=PRIORITIES[-1], description="Higher runs first.")
    timeout: float | None = Field(None, description="Longest execution in seconds.", allow_inf_nan=False)
    start_within: float | None = Field(
        None, gt=0, description="Seconds: a run that has not started by then ends.", allow_inf_nan=False
    )
    tags: list[Annotated[str, Field(max_length=100)]] = Field(default_factory=list, max_length=50)


class WorkflowRequest(leniency.Request):
    """A workflow to create, or the fields of one to change."""

    name: str | None = Field(None, min_length=1, max_length=200)
    description: str | None = Field(None, max_length=20_000)
    prompt: dict[str, Any] | None = Field(None, description="The saved graph in API format.")
    workflow: dict[str, Any] | None = Field(None, description="The editor's graph.")
    tags: list[Annotated[str, Field(max_length=100)]] | None = Field(None, max_length=50)
    visibility: Literal["PRIVATE", "PUBLIC"] | None = None
    accelerator: str | None = Field(None, max_length=60)


def router(context: Context) -> APIRouter:
    routes = APIRouter(prefix=API_PREFIX)
    _add_run_routes(routes, context)
    _add_run_actions(routes, context)
    _add_workflow_routes(routes, context)
    return routes


def hot_routes(context: Context) -> list[Route]:
    """The two calls of every run, without FastAPI's work around each; their twins below are what /docs shows."""

    async def create_run(request: Request) -> Response:
        key = request.headers.get("idempotency-key")
        return await _create_run(context, request, request.path_params["workflow_id"], key)

    async def get_run(request: Request) -> Response:
        found = request.path_params
        return await _get_run(context, request, found["workflow_id"], found["run_id"], _wait_of(request))

    return [
        Route(f"{API_PREFIX}/workflows/{{workflow_id}}/runs", create_run, methods=["POST"]),
        Route(f"{API_PREFIX}/workflows/{{workflow_id}}/runs/{{run_id}}", get_run, methods=["GET"]),
    ]


def _add_run_routes(routes: APIRouter, context: Context) -> None:
    db = context.db

    @routes.post(
        "/workflows/{workflow_id}/runs", tags=["runs"], summary="Create a run", openapi_extra=schema_of(RunRequest)
    )
    async def create_run(
        request: Request, workflow_id: str, idempotency_key: Annotated[str | None, Header()] = None
    ) -> Response:
        return await _create_run(context, request, workflow_id, idempotency_key)

    @routes.get("/workflows/{workflow_id}/runs", tags=["runs"], summary="List the runs of a workflow")
    async def list_runs(request: Request, workflow_id: str, which: Annotated[_ListQuery, Query()]) -> Response:
        caller = await context.auth.caller(request)
        workflow = await db.lookup(workflows.get, caller.account.id, workflow_id)
        return await _listed(context, request, caller.account.id, workflow.id, which)

    @routes.get("/runs", tags=["runs"], summary="List all runs")
    async def list_all_runs(request: Request, which: Annotated[_ListQuery, Query()]) -> Response:
        caller = await context.auth.caller(request)
        return await _listed(context, request, caller.account.id, which.workflow, which)

    @routes.get("/workflows/{workflow_id}/runs/{run_id}", tags=["runs"], summary="Get a run")
    async def get_run(request: Request, workflow_id: str, run_id: str, wait: _Wait = 0) -> Response:
        return await _get_run(context, request, workflow_id, run_id, wait)

    @routes.get("/runs/{run_id}", tags=["runs"], summary="Get a run by its id alone")
    async def get_run_by_id(request: Request, run_id: str, wait: _Wait = 0) -> Response:
        run = await _run(context, request, run_id, wait_s=wait)
        return Response(_shapes(context, request).run_json(run), media_type="application/json")

    @routes.get("/runs/{run_id}/placement", tags=["runs"], summary="Why a run waits")
    @routes.get("/workflows/{workflow_id}/runs/{run_id}/placement", tags=["runs"], summary="Why a run waits")
    async def placement(request: Request, run_id: str, workflow_id: str | None = None) -> Response:
        """Where a queued run stands, what it waits for, and when it is expected to start."""
        run = await _run(context, request, run_id, workflow_id)
        forecast = await context.forecasts.of(run)
        return Response(msgspec.json.encode(_placement(run, forecast)), media_type="application/json")

    @routes.get(
        "/workflows/{workflow_id}/runs/{run_id}/events",
        tags=["runs"],
        summary="Follow a run",
        description="Server-Sent Events: status, download, progress, preview, output. Send Last-Event-ID to go on.",
    )
    async def events(
        request: Request,
        workflow_id: str,
        run_id: str,
        last_event_id: Annotated[str | None, Header()] = None,
        after: Annotated[int, Query(ge=0, le=LARGEST, description="As Last-Event-ID.")] = 0,
    ) -> Response:
        run = await _run(context, request, run_id, workflow_id)
        seen = whole_number(last_event_id or "")
        stream = stream_events(db, context.hub, run.account_id, run.id, after if seen is None else seen)
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        return streamed(request, stream, media_type="text/event-stream", headers=headers)

    @routes.get("/workflows/{workflow_id}/runs/{run_id}/log", tags=["runs"], summary="ComfyUI's log of a run")
    async def log(request: Request, workflow_id: str, run_id: str) -> Response:
        run = await _run(context, request, run_id, workflow_id)
        return Response(await db.read(runs.log_of, run.account_id, run.id), media_type="text/plain")


def _add_run_actions(routes: APIRouter, context: Context) -> None:
    @routes.post("/workflows/{workflow_id}/runs/{run_id}/cancel", tags=["runs"], summary="Cancel a run")
    async def cancel(request: Request, workflow_id: str, run_id: str) -> Response:
        run = await _run(context, request, run_id, workflow_id)
        cancelled = await context.intake.cancel(run.account_id, run.id)
        return Response(_shapes(context, request).run_json(cancelled), media_type="application/json")

    @routes.post("/workflows/{workflow_id}/runs/{run_id}/retry", tags=["runs"], summary="Run it again")
    async def retry(
        request: Request, workflow_id: str, run_id: str, idempotency_key: Annotated[str | None, Header()] = None
    ) -> Response:
        caller = await context.auth.caller(request)
        run = await _run(context, request, run_id, workflow_id)
        return answer({"id": await context.intake.retry(caller, run.id, _checked_key(idempotency_key))})

    @routes.delete("/workflows/{workflow_id}/runs/{run_id}", tags=["runs"], summary="Delete a run and its outputs")
    async def delete(request: Request, workflow_id: str, run_id: str) -> Response:
        run = await _run(context, request, run_id, workflow_id)
        if not run.state.is_final:
            raise Conflict("The run has not finished yet.", hint="Cancel it first.")
        await context.db.write(runs.remove, run.account_id, run.id, now_ms())
        return Response(status_code=204)


def _add_workflow_routes(routes: APIRouter, context: Context) -> None:
    db, limit = context.db, context.settings.body_limit_bytes

    @routes.post(
        "/workflows", tags=["workflows"], summary="Create a workflow", openapi_extra=schema_of(WorkflowRequest)
    )
    async def create(request: Request) -> Response:
        caller = await context.auth.caller(request)
        body = await read_json(request, WorkflowRequest, limit)
        now = now_ms()
        workflow = Workflow(
            id=new_id(),
            account_id=caller.account.id,
            name=body.name or "Untitled",
            created_at=now,
            updated_at=now,
            description=body.description,
            graph=_graph_text(body.prompt),
            editor_graph=_text(body.workflow),
            tags=body.tags or [],
            visibility=body.visibility or "PRIVATE",
            accelerator=body.accelerator,
        )
        await db.write(workflows.create, workflow)
        return answer(_shapes(context, request).workflow(workflow), 201)

    @routes.get("/workflows", tags=["workflows"], summary="List workflows")
    async def find(request: Request, which: Annotated[_PageQuery, Query()]) -> Response:
        caller = await context.auth.caller(request)
        found = await db.read(workflows.find, caller.account.id, _before(which.cursor), which.limit + 1)
        shown, shapes = found[: which.limit], _shapes(context, request)
        headers = _next_page(found, which.limit)
        return answer([shapes.workflow(workflow) for workflow in shown], headers=headers)

    @routes.get("/workflows/{workflow_id}", tags=["workflows"], summary="Get a workflow")
    async def get(request: Request, workflow_id: str) -> Response:
        caller = await context.auth.caller(request)
        workflow = await db.lookup(workflows.get, caller.account.id, workflow_id)
        return answer(_shapes(context, request).workflow(workflow))

    @routes.patch(
        "/workflows/{workflow_id}",
        tags=["workflows"],
        summary="Change a workflow",
        openapi_extra=schema_of(WorkflowRequest),
    )
    async def change(request: Request, workflow_id: str) -> Response:
        caller = await context.auth.caller(request)
        body = await read_json(request, WorkflowRequest, limit)
        values = _changed_columns(body)
        workflow = await db.write(workflows.change, caller.account.id, workflow_id, values, now_ms())
        return answer(_shapes(context, request).workflow(workflow))

    @routes.delete("/workflows/{workflow_id}", tags=["workflows"], summary="Delete a workflow; its runs stay readable")
    async def delete(request: Request, workflow_id: str) -> Response:
        caller = await context.auth.caller(request)
        await db.write(workflows.remove, caller.account.id, workflow_id, now_ms())
        return Response(status_code=204)


class _PageQuery(BaseModel):
    limit: int = Field(MAX_LISTED, ge=1, le=1000)
    cursor: str | None = Field(None, description="The X-Next-Cursor header of the page before.")


class _ListQuery(_PageQuery):
    status: PublicStatus | None = Field(None, description="Only runs with this status.")
    state: State | None = Field(
        None, description="Only runs in this state; unlike `status` it tells cancelled ones apart."
    )
    end_reason: EndReason | None = Field(None, description="Only runs that ended for this reason.")
    accelerator: str | None = Field(None, description="Only runs that asked for this accelerator.")
    workflow: str | None = Field(None, description="Only runs of this workflow.")


async def _create_run(context: Context, request: Request, workflow_id: str, key: str | None) -> Response:
    caller = await context.auth.caller(request)
    body = await read_json(request, RunRequest, context.settings.body_limit_bytes)
    submission = await _submission(context, request, caller.account.id, workflow_id, body, key)
    return answer({"id": (await context.intake.submit(caller, submission)).run_id})


async def _get_run(context: Context, request: Request, workflow_id: str, run_id: str, wait_s: float) -> Response:
    run = await _run(context, request, run_id, workflow_id, wait_s)
    return Response(_shapes(context, request).run_json(run), media_type="application/json")


def _wait_of(request: Request) -> float:
    text = request.query_params.get("wait") or "0"
    try:
        wait_s = float(text)
    except ValueError:
        wait_s = -1
    if not 0 <= wait_s <= MAX_WAIT_S:
        raise InvalidRequest(f"'wait' must be 0 to {MAX_WAIT_S} seconds.")
    return wait_s


async def _submission(
    context: Context, request: Request, account_id: str, workflow_id: str, body: RunRequest, key: str | None
) -> Submission:
    prompt = body.prompt
    if prompt is None:
        workflow = await context.db.lookup(workflows.get, account_id, workflow_id)
        if workflow.graph is None:
            hint = "Send the graph that 'File > Export (API)' gives as 'prompt'."
            raise InvalidRequest("'prompt' is missing.", hint=hint)
        prompt = msgspec.json.decode(workflow.graph)
    base_url = context.base_url(request)
    files = {
        path: await resolve_own(context, account_id, base_url, s)
        for path, s in parse_files(leniency.filled(body.files)).items()
    }
    inline = sum(len(source.data) for source in files.values() if isinstance(source, Inline))
    if inline > MAX_INLINE_BYTES:
        raise InvalidRequest(
            f"The data: URLs in 'files' hold {inline} bytes; at most {MAX_INLINE_BYTES} are taken inline.",
            hint="Upload larger files with POST /api/v1/files.",
        )
    return Submission(
        workflow_id=workflow_id,
        prompt=prompt,
        files=files,
        accelerator=body.accelerator,
        webhook=body.webhook,
        extra_data=body.extra_data,
        priority=body.priority,
        timeout_s=body.timeout,
        start_within_s=body.start_within,
        tags=tuple(body.tags),
        idempotency_key=_checked_key(key),
    )


def _checked_key(key: str | None) -> str | None:
    """An Idempotency-Key as it was sent. Raises InvalidRequest."""
    if key is not None and len(key) > MAX_KEY_LENGTH:
        raise InvalidRequest(f"The Idempotency-Key must have at most {MAX_KEY_LENGTH} characters.")
    return key or None


def _placement(run: Run, forecast: QueueForecast | None) -> dict[str, Any]:
    placed = {"id": run.id, "state": run.state, "pool": run.pool, "worker": run.worker_id, "attempt": run.attempt}
    if forecast is None:
        return {**placed, "place": None, "waits_for": None, "reason": None, "expected_start_at": None}
    found = forecast.explanation
    expected = None if found.expected_in_ms is None else iso(now_ms() + found.expected_in_ms)
    return {
        **placed,
        "place": forecast.place,
        "waits_for": found.waits_for,
        "reason": found.reason,
        "expected_start_at": expected,
    }


async def _run(
    context: Context, request: Request, run_id: str, workflow_id: str | None = None, wait_s: float = 0
) -> Run:
    """The caller's run; through a workflow's path only when it belongs there. Raises NotFound."""
    caller = await context.auth.caller(request)
    run = await wait_until_over(context.db, context.hub, caller.account.id, run_id, wait_s)
    if workflow_id not in (None, run.workflow_id, workflows.DEFAULT_ALIAS):
        raise NotFound(f"There is no run '{run_id}' in workflow '{workflow_id}'.")
    return run


async def _listed(
    context: Context, request: Request, account_id: str, workflow_id: str | None, which: _ListQuery
) -> Response:
    reason = which.end_reason
    if which.status is PublicStatus.INSUFFICIENT_CREDIT:
        reason = EndReason.INSUFFICIENT_CREDIT
    filters = RunFilter(
        workflow_id=workflow_id,
        states=_states(which),
        end_reason=reason,
        accelerator=which.accelerator,
        before=_before(which.cursor),
        limit=which.limit + 1,
    )
    found = await context.db.read(runs.find, account_id, filters)
    shapes = _shapes(context, request)
    headers = _next_page(found, which.limit)
    return answer([shapes.run(run) for run in found[: which.limit]], headers=headers)


def _states(which: _ListQuery) -> tuple[State, ...]:
    """The states that a list shows; none for all. Raises InvalidRequest for a status and a state that never meet."""
    asked = frozenset(State) if which.status is None else states_of(which.status)
    if which.state is not None:
        asked &= {which.state}
    if not asked:
        raise InvalidRequest(f"No run with status {which.status} is {which.state}.", hint="Give one of them.")
    return () if len(asked) == len(State) else tuple(asked)


def _next_page(found: Sequence[Run] | Sequence[Workflow], limit: int) -> dict[str, str]:
    if len(found) <= limit:
        return {}
    last = found[limit - 1]
    return {"X-Next-Cursor": cursor_of(last.created_at, last.id)}


def _before(cursor: str | None) -> tuple[int, str] | None:
    try:
        return None if cursor is None else moment_of(cursor)
    except InvalidCursor as error:
        raise InvalidRequest("The cursor is not one that a list gave.", hint="Use the X-Next-Cursor header.") from error


def _changed_columns(body: WorkflowRequest) -> dict[str, Any]:
    sent = body.model_fields_set
    values: dict[str, Any] = {
        name: getattr(body, name)
        for name in ("name", "description", "tags", "visibility", "accelerator")
        if name in sent and (getattr(body, name) is not None or name in ("description", "accelerator"))
    }
    if "prompt" in sent:
        values["graph"] = _graph_text(body.prompt)
    if "workflow" in sent:
        values["editor_graph"] = _text(body.workflow)
    return values


def _graph_text(prompt: dict[str, Any] | None) -> str | None:
    if prompt is not None:
        parse_graph(prompt)
    return _text(prompt)


def _text(value: Any) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


def _shapes(context: Context, request: Request) -> Shapes:
    return Shapes(context.auth, context.base_url(request))
