"""ComfyUI's /api/jobs: runs as lists and galleries show them."""

from __future__ import annotations

from dataclasses import replace

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.body import Kept, answer, answer_beside, encoded
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.native.job_shapes import job, job_detail
from comfyward.api.native.models import CloudStatus, JobDetail, JobList, JobQuery
from comfyward.api.native.requests import choice_in, number_in
from comfyward.api.native.scope import Scopes, find_run
from comfyward.api.native.shapes import JOB_STATES, cloud_status
from comfyward.api.native.whole_lists import WholeLists
from comfyward.dispatch.heavy_requests import HEAVY
from comfyward.errors import InvalidRequest
from comfyward.runs.run import State
from comfyward.store import run_parts, runs
from comfyward.store.db import Database
from comfyward.store.runs import RunFilter

MAX_LISTED = 1000
DEFAULT_PAGE = 100
NO_WORKFLOW = "-"  # is no id of a workflow
NOT_FOUND = {"error": "Job not found"}


class Jobs:
    def __init__(self, db: Database, scopes: Scopes) -> None:
        self._db, self._scopes, self._lists = db, scopes, WholeLists(db)

    def endpoints(self) -> list[Endpoint]:
        status = "/job/{prompt_id:path}/status"
        return [
            Endpoint("GET", "/jobs", self.find, "List jobs", Models(query=JobQuery, answer=JobList)),
            Endpoint("GET", "/jobs/{prompt_id:path}", self.get, "Get a job", Models(answer=JobDetail)),
            Endpoint("GET", status, self.cloud_status, "The status of a job", Models(answer=CloudStatus)),
        ]

    async def find(self, request: Request) -> Response:
        scope = await self._scopes.of(request)
        limit, offset = min(number_in(request, "limit", DEFAULT_PAGE), MAX_LISTED), number_in(request, "offset", 0)
        if limit < 1:
            raise InvalidRequest("'limit' must be above 0.")
        which = scope.runs(states=_states(request), in_history=True, limit=limit, offset=max(0, offset))
        which = _ordered(request, _of_workflow(request, which))
        listed = await self._db.read(run_parts.outlines, scope.account_id, which)
        total = await self._db.read(runs.count, scope.account_id, which)
        has_more = which.offset + len(listed) < total
        pagination = {"offset": which.offset, "limit": limit, "total": total, "has_more": has_more}
        shown = await self._lists.compact(scope.account_id, listed, lambda run: encoded(job(run)))

        def kept_answer() -> Kept:
            return Kept.of(encoded({"jobs": [msgspec.Raw(each) for each in shown], "pagination": pagination}))

        kept = await HEAVY.run(scope.account_id, sum(map(len, shown)), kept_answer)
        return kept.answer(request, "application/json", {"Cache-Control": "private, no-cache"})

    async def get(self, request: Request) -> Response:
        run = await find_run(self._db, await self._scopes.of(request), request.path_params["prompt_id"])
        if run is None:
            return answer(NOT_FOUND, 404)
        return await answer_beside(run.account_id, run.about_bytes, lambda: job_detail(run))

    async def cloud_status(self, request: Request) -> Response:
        """Comfy Cloud's older API has it, which some clients still poll."""
        run = await find_run(self._db, await self._scopes.of(request), request.path_params["prompt_id"])
        return answer(NOT_FOUND, 404) if run is None else answer(cloud_status(run))


def _states(request: Request) -> tuple[State, ...]:
    """The states of `status`, a list with commas; all by default. Raises InvalidRequest."""
    sent = request.query_params.get("status", "").split(",")
    statuses = [status.strip().lower() for status in sent if status.strip()]
    if unknown := set(statuses) - set(JOB_STATES):
        raise InvalidRequest(f"Unknown status '{min(unknown)}'.", hint=f"Known: {', '.join(JOB_STATES)}.")
    return tuple(state for status in statuses or JOB_STATES for state in JOB_STATES[status])


def _of_workflow(request: Request, which: RunFilter) -> RunFilter:
    """Only jobs of the workflow that `workflow_id` names, if any; of no other in a workflow's own URL."""
    wanted = request.query_params.get("workflow_id")
    if not wanted or wanted == which.workflow_id:
        return which
    return replace(which, workflow_id=wanted if which.workflow_id is None else NO_WORKFLOW)


def _ordered(request: Request, which: RunFilter) -> RunFilter:
    """Raises InvalidRequest."""
    sort_by = choice_in(request, "sort_by", ("created_at", "execution_duration"))
    order = choice_in(request, "sort_order", ("desc", "asc"))
    return replace(which, oldest_first=order == "asc", by_run_time=sort_by == "execution_duration")
