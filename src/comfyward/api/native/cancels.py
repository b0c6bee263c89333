"""Cancels of ComfyUI's API: of runs that wait, of running ones, of jobs by their ids."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.body import answer
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.leniency import is_true
from comfyward.api.native.models import Cancelled, InterruptRequest, JobIds, QueueChange
from comfyward.api.native.requests import list_of, read_object
from comfyward.api.native.scope import Scope, Scopes, find_run
from comfyward.api.native.shapes import JOB_STATES, UNFINISHED_STATES
from comfyward.dispatch.intake import Intake
from comfyward.runs.run import State
from comfyward.store import run_parts
from comfyward.store.db import Database

MAX_CANCELLED = 1000


class Cancels:
    def __init__(self, db: Database, scopes: Scopes, intake: Intake, body_limit_bytes: int) -> None:
        self._db, self._scopes, self._intake, self._body_limit_bytes = db, scopes, intake, body_limit_bytes

    def endpoints(self) -> list[Endpoint]:
        job, jobs = Models(answer=Cancelled), Models(body=JobIds, answer=Cancelled)
        return [
            Endpoint("POST", "/queue", self.change_queue, "Cancel waiting runs", Models(body=QueueChange)),
            Endpoint("POST", "/interrupt", self.interrupt, "Cancel running runs", Models(body=InterruptRequest)),
            Endpoint("POST", "/jobs/cancel", self.cancel_jobs, "Cancel jobs", jobs),
            Endpoint("POST", "/jobs/{prompt_id:path}/cancel", self.cancel_job, "Cancel a job", job),
        ]

    async def change_queue(self, request: Request) -> Response:
        """Cancels the named runs that wait, or all with `clear`."""
        scope, body = await self._scopes.of(request), await read_object(request, self._body_limit_bytes)
        waiting = await self._runs(scope, JOB_STATES["pending"])
        await self._cancel(scope, waiting if is_true(body.get("clear")) else _named(waiting, body.get("delete")))
        return Response()

    async def interrupt(self, request: Request) -> Response:
        """Cancels the named run if it is running, or all that are."""
        scope, body = await self._scopes.of(request), await read_object(request, self._body_limit_bytes)
        running, prompt_id = await self._runs(scope, JOB_STATES["in_progress"]), body.get("prompt_id")
        await self._cancel(scope, _named(running, [prompt_id]) if prompt_id else running)
        return Response()

    async def cancel_job(self, request: Request) -> Response:
        scope = await self._scopes.of(request)
        run = await find_run(self._db, scope, request.path_params["prompt_id"])
        return answer({"cancelled": await self._cancel(scope, [run.id] if run and not run.state.is_final else []) > 0})

    async def cancel_jobs(self, request: Request) -> Response:
        scope, body = await self._scopes.of(request), await read_object(request, self._body_limit_bytes)
        unfinished = await self._runs(scope, UNFINISHED_STATES)
        return answer({"cancelled": await self._cancel(scope, _named(unfinished, body.get("job_ids"))) > 0})

    async def _runs(self, scope: Scope, states: Sequence[State]) -> dict[str, str]:
        """The prompt ids of the runs in these states, by run id."""
        which = scope.runs(states=tuple(states), limit=MAX_CANCELLED)
        return await self._db.read(run_parts.prompt_ids, scope.account_id, which)

    async def _cancel(self, scope: Scope, chosen: Collection[str]) -> int:
        """Cancels unfinished runs by id. Returns how many."""
        for run_id in chosen:
            await self._intake.cancel(scope.account_id, run_id)
        return len(chosen)


def _named(found: Mapping[str, str], prompt_ids: Any) -> list[str]:
    wanted = {str(each) for each in list_of(prompt_ids)}
    return [run_id for run_id, prompt_id in found.items() if prompt_id in wanted]
