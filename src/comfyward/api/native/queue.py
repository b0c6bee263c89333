"""ComfyUI's routes for prompts: submit, queue, interrupt, history, jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from comfyward.api.body import Kept, answer, encoded, read_body
from comfyward.api.context import Context
from comfyward.api.leniency import is_true
from comfyward.api.native.errors import error
from comfyward.api.native.jobs import job, job_detail
from comfyward.api.native.scope import Scope, Scopes
from comfyward.api.native.shapes import (
    JOB_STATES,
    cloud_status,
    history_entry,
    is_in_history,
    number_of,
    queue_item,
    rising_numbers,
)
from comfyward.dispatch.intake import Submission
from comfyward.dispatch.placement import WaitingRun, in_order
from comfyward.errors import InvalidGraph, InvalidRequest, NotFound
from comfyward.python_json import NOT_JSON, read_request
from comfyward.runs.run import FINAL_STATES, LEASED_STATES, Api, Run, State
from comfyward.store import runs
from comfyward.store.db import now_ms
from comfyward.workflows.graph import only_for

MAX_PROMPT_ID = 100
MAX_CLIENT_ID = 200
MAX_LISTED = 1000
IN_FRONT = 1
UNFINISHED = (State.QUEUED, *LEASED_STATES)


class Queue:
    def __init__(self, context: Context, scopes: Scopes) -> None:
        self._context, self._db, self._scopes = context, context.db, scopes

    def routes(self) -> list[Route]:
        return [
            Route("/prompt", self.remaining, methods=["GET"]),
            Route("/prompt", self.submit, methods=["POST"]),
            Route("/queue", self.queue, methods=["GET"]),
            Route("/queue", self.change_queue, methods=["POST"]),
            Route("/interrupt", self.interrupt, methods=["POST"]),
            Route("/free", self.free, methods=["POST"]),
            Route("/history", self.history, methods=["GET"]),
            Route("/history", self.change_history, methods=["POST"]),
            Route("/history/{prompt_id:path}", self.one_history, methods=["GET"]),
            Route("/jobs", self.jobs, methods=["GET"]),
            Route("/jobs/cancel", self.cancel_jobs, methods=["POST"]),
            Route("/jobs/{prompt_id:path}", self.one_job, methods=["GET"]),
            Route("/jobs/{prompt_id:path}/cancel", self.cancel_job, methods=["POST"]),
            Route("/job/{prompt_id:path}/status", self.cloud_status, methods=["GET"]),
        ]

    async def submit(self, request: Request) -> Response:
        scope = await self._scopes.of(request)
        body = await self._body(request)
        if "prompt" not in body:
            return error("no_prompt", "No prompt provided", "No prompt provided")
        try:
            submission = _submission(scope, body)
            made = await self._context.intake.submit(scope.caller, submission)
        except InvalidGraph as invalid:
            return _invalid(invalid)
        return answer({"prompt_id": made.prompt_id, "number": number_of(made), "node_errors": {}})

    async def remaining(self, request: Request) -> Response:
        return answer({"exec_info": {"queue_remaining": await self.count_unfinished(await self._scopes.of(request))}})

    async def count_unfinished(self, scope: Scope) -> int:
        """Runs that wait or are on their way."""
        return await self._db.lookup(runs.count_unfinished, scope.account_id, scope.workflow_id)

    async def queue(self, request: Request) -> Response:
        scope, catalog = await self._scopes.of(request), await self._context.inventory.catalog_lately()
        which = scope.runs(states=UNFINISHED, next_first=True, limit=MAX_LISTED)
        found = await self._db.read(runs.find, scope.account_id, which)
        running = [queue_item(run, catalog) for run in found if run.state is State.RUNNING]
        pending = self._in_order([run for run in found if run.state is not State.RUNNING])
        numbered = zip(pending, rising_numbers(pending), strict=True)
        waiting = [queue_item(run, catalog, number) for run, number in numbered]
        return answer({"queue_running": running, "queue_pending": waiting})

    def _in_order(self, pending: list[Run]) -> list[Run]:
        """As they start: those that a worker has are before those that wait, which are served as placement says."""
        handed_out = [run for run in pending if run.state is not State.QUEUED]
        queued = {run.id: run for run in pending if run.state is State.QUEUED}
        waiting = (
            WaitingRun(
                run.id, run.pool, run.environment, run.queued_at, frozenset(), priority=run.priority, turn=run.turn
            )
            for run in queued.values()
        )
        ordered = in_order(waiting, now_ms(), self._context.rules.ageing_ms)
        return [*handed_out, *(queued[each.id] for each in ordered)]

    async def change_queue(self, request: Request) -> Response:
        scope, body = await self._scopes.of(request), await self._body(request)
        which = scope.runs(states=JOB_STATES["pending"], limit=MAX_LISTED)
        waiting = await self._db.read(runs.find, scope.account_id, which)
        chosen = waiting if is_true(body.get("clear")) else _named(waiting, body.get("delete"))
        await self._cancel(scope, chosen)
        return Response()

    async def interrupt(self, request: Request) -> Response:
        scope, body = await self._scopes.of(request), await self._body(request)
        which = scope.runs(states=JOB_STATES["in_progress"], limit=MAX_LISTED)
        running = await self._db.read(runs.find, scope.account_id, which)
        prompt_id = body.get("prompt_id")
        await self._cancel(scope, _named(running, [prompt_id]) if prompt_id else running)
        return Response()

    async def free(self, request: Request) -> Response:
        """Workers look after their memory themselves."""
        await self._scopes.of(request)
        return Response()

    async def history(self, request: Request) -> Response:
        scope, catalog = await self._scopes.of(request), await self._context.inventory.catalog_lately()
        limit, offset = _number(request, "max_items", MAX_LISTED), _number(request, "offset", -1)
        which = scope.runs(
            states=tuple(FINAL_STATES),
            in_history=True,
            limit=min(limit, MAX_LISTED),
            offset=max(0, offset),
            oldest_first=offset >= 0,
        )
        found = await self._db.read(runs.find, scope.account_id, which)
        ordered = found if offset >= 0 else reversed(found)
        return answer({run.prompt_id: history_entry(run, catalog) for run in ordered})

    async def one_history(self, request: Request) -> Response:
        scope, catalog = await self._scopes.of(request), await self._context.inventory.catalog_lately()
        run = await self._run(scope, request)
        if run is None or not is_in_history(run):
            return answer({})
        return answer({run.prompt_id: history_entry(run, catalog)})

    async def change_history(self, request: Request) -> Response:
        """Takes runs out of ComfyUI's history only: they stay in their lists, with their outputs."""
        scope, body = await self._scopes.of(request), await self._body(request)
        is_all = is_true(body.get("clear"))
        if is_all or body.get("delete"):
            named = None if is_all else [str(each) for each in _list(body.get("delete"))]
            await self._db.write(runs.clear_history, scope.account_id, scope.runs(), named, now_ms())
        return Response()

    async def jobs(self, request: Request) -> Response:
        scope, query = await self._scopes.of(request), request.query_params
        statuses = [status.strip().lower() for status in query.get("status", "").split(",") if status.strip()]
        if unknown := set(statuses) - set(JOB_STATES):
            raise InvalidRequest(f"Unknown status '{min(unknown)}'.", hint=f"Known: {', '.join(JOB_STATES)}.")
        limit, offset = min(_number(request, "limit", 100), MAX_LISTED), max(0, _number(request, "offset", 0))
        if limit < 1:
            raise InvalidRequest("'limit' must be above 0.")
        which = scope.runs(
            states=tuple(state for status in statuses or JOB_STATES for state in JOB_STATES[status]),
            in_history=True,
            limit=limit,
            offset=offset,
            oldest_first=_choice(query, "sort_order", ("desc", "asc")) == "asc",
            by_run_time=_choice(query, "sort_by", ("created_at", "execution_duration")) == "execution_duration",
        )
        found = await self._db.read(runs.find, scope.account_id, which)
        total = await self._db.read(runs.count, scope.account_id, which)
        pagination = {"offset": offset, "limit": limit, "total": total, "has_more": offset + len(found) < total}
        listed = Kept.of(encoded({"jobs": [job(run) for run in found], "pagination": pagination}))
        return listed.answer(request, "application/json", {"Cache-Control": "private, no-cache"})

    async def one_job(self, request: Request) -> Response:
        run = await self._run(await self._scopes.of(request), request)
        return answer({"error": "Job not found"}, 404) if run is None else answer(job_detail(run))

    async def cloud_status(self, request: Request) -> Response:
        """As Comfy Cloud's older API has it, which some clients still poll."""
        run = await self._run(await self._scopes.of(request), request)
        return answer({"error": "Job not found"}, 404) if run is None else answer(cloud_status(run))

    async def cancel_job(self, request: Request) -> Response:
        scope = await self._scopes.of(request)
        run = await self._run(scope, request)
        return answer({"cancelled": await self._cancel(scope, [run] if run else []) > 0})

    async def cancel_jobs(self, request: Request) -> Response:
        scope, body = await self._scopes.of(request), await self._body(request)
        which = scope.runs(states=UNFINISHED, limit=MAX_LISTED)
        unfinished = await self._db.read(runs.find, scope.account_id, which)
        return answer({"cancelled": await self._cancel(scope, _named(unfinished, body.get("job_ids"))) > 0})

    async def _cancel(self, scope: Scope, chosen: list[Run]) -> int:
        for run in chosen:
            await self._context.intake.cancel(scope.account_id, run.id)
        return sum(not run.state.is_final for run in chosen)

    async def _run(self, scope: Scope, request: Request) -> Run | None:
        try:
            run = await self._db.lookup(runs.by_prompt_id, scope.account_id, request.path_params["prompt_id"])
        except NotFound:
            return None
        return run if scope.workflow_id in (None, run.workflow_id) else None

    async def _body(self, request: Request) -> dict[str, Any]:
        """A JSON object whatever the Content-Type says; an empty body is an empty one."""
        raw = await read_body(request, self._context.settings.body_limit_bytes)
        try:
            body = read_request(raw) if raw.strip() else {}
        except NOT_JSON as problem:
            raise InvalidRequest(f"The body is not valid JSON: {problem}.") from problem
        if not isinstance(body, dict):
            raise InvalidRequest("The body must be a JSON object.")
        return body


def _submission(scope: Scope, body: Mapping[str, Any]) -> Submission:
    prompt, extra_data, targets = body["prompt"], body.get("extra_data"), body.get("partial_execution_targets")
    if targets not in (None, "") and isinstance(prompt, dict):
        prompt = only_for(prompt, [str(target) for target in _list(targets)])
    number = body.get("number")
    in_front = is_true(body.get("front")) or _is_negative(number)
    return Submission(
        workflow_id=scope.lands_in,
        prompt=prompt,
        extra_data=extra_data if isinstance(extra_data, dict) and extra_data else None,
        priority=IN_FRONT if in_front else 0,
        submitted_via=Api.NATIVE,
        client_id=_text(body, "client_id", MAX_CLIENT_ID),
        prompt_id=_text(body, "prompt_id", MAX_PROMPT_ID),
    )


def _text(body: Mapping[str, Any], name: str, longest: int) -> str | None:
    value = body.get(name)
    if value is None or value == "":
        return None
    text = str(value)
    if not isinstance(value, str | int) or len(text) > longest or "\0" in text:
        raise InvalidRequest(f"'{name}' must be a text of at most {longest} characters.")
    return text


def _invalid(invalid: InvalidGraph) -> Response:
    """ComfyUI's own answer to a graph that cannot run."""
    kind, node_errors = invalid.details.get("type"), invalid.details.get("node_errors") or {}
    if kind == "missing_node_type":
        node, class_type = invalid.details.get("node_id"), invalid.details.get("class_type")
        message = f"Cannot execute because node {class_type} does not exist."
        return error("invalid_prompt", message, f"Node ID '#{node}'")
    if kind == "prompt_no_outputs":
        return error("prompt_no_outputs", "Prompt has no outputs", "")
    if node_errors:
        return error("prompt_outputs_failed_validation", "Prompt outputs failed validation", "", node_errors)
    return error("invalid_prompt", invalid.message, invalid.hint or "")


def _named(found: list[Run], prompt_ids: Any) -> list[Run]:
    wanted = {str(each) for each in _list(prompt_ids)}
    return [run for run in found if run.prompt_id in wanted]


def _list(value: Any) -> list[Any]:
    """A list; one name alone is a list of it."""
    return value if isinstance(value, list) else [value] if isinstance(value, str) and value else []


def _is_negative(number: Any) -> bool:
    try:
        return float(number) < 0
    except (TypeError, ValueError):
        return False


def _choice(query: QueryParams, name: str, known: Sequence[str]) -> str:
    """One of the known values, the first by default. Raises InvalidRequest."""
    value = query.get(name, "").lower() or known[0]
    if value not in known:
        raise InvalidRequest(f"'{name}' must be {' or '.join(known)}.")
    return value


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name)
    if not text:
        return default
    try:
        return max(-1, min(int(text), 1 << 31))
    except ValueError as problem:
        raise InvalidRequest(f"'{name}' must be a whole number.") from problem
