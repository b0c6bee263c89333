"""Jobs of Comfy API v2: submit, get, list, workflow, cancel, events."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from comfyward.accounts.account import Caller
from comfyward.api.auth import Auth
from comfyward.api.body import answer, answer_beside, read_json
from comfyward.api.endpoint import EVENT_STREAM, Endpoint, Models
from comfyward.api.following import Following
from comfyward.api.paging import next_cursor
from comfyward.api.query import read_query
from comfyward.api.v2.models import Job, JobList, JobQuery, JobRequest, JobWorkflow
from comfyward.api.v2.shapes import Rendering, progress_of
from comfyward.api.v2.stream import JobStream
from comfyward.delivery.hub import Hub
from comfyward.dispatch.intake import Intake, Submission
from comfyward.errors import InvalidRequest, NotFound, OutOfCredit
from comfyward.runs.labels import check_filter, check_labels
from comfyward.runs.run import Api, Run, State
from comfyward.store import accounts, runs
from comfyward.store.db import Database
from comfyward.store.runs import RunFilter
from comfyward.store.workflows import DEFAULT_ALIAS

MAX_KEY_LENGTH = 255
IDEMPOTENCY = {"Idempotency-Key": "Can be used for one job only; a second request with it gets 422."}
EVENTS = """Server-Sent Events: `output`, `status`, `progress`, `preview`. First the present state, then what happens,
until the last `status`. Nothing is replayed."""


class ReservedField(InvalidRequest):
    status = 422


class NoWorkflow(InvalidRequest):
    code = "invalid_workflow"
    status = 422


class Jobs:
    def __init__(
        self, db: Database, auth: Auth, intake: Intake, hub: Hub, rendering: Rendering, body_limit_bytes: int
    ) -> None:
        self._db, self._auth, self._intake, self._hub, self._rendering = db, auth, intake, hub, rendering
        self._following = Following(auth, hub)
        self._body_limit_bytes = body_limit_bytes

    def endpoints(self) -> list[Endpoint]:
        job, created = Models(answer=Job), Models(headers=IDEMPOTENCY, body=JobRequest, answer=Job, status=201)
        listed, stream = Models(query=JobQuery, answer=JobList), Models(answer=EVENT_STREAM, description=EVENTS)
        return [
            Endpoint("POST", "/jobs", self.create, "Submit a workflow", created),
            Endpoint("GET", "/jobs", self.find, "List jobs", listed),
            Endpoint("GET", "/jobs/{job_id}", self.get, "Get a job", job),
            Endpoint("GET", "/jobs/{job_id}/workflow", self.workflow, "A job's graph", Models(answer=JobWorkflow)),
            Endpoint("POST", "/jobs/{job_id}/cancel", self.cancel, "Cancel a job", job),
            Endpoint("GET", "/jobs/{job_id}/events", self.events, "Follow a job", stream),
        ]

    async def create(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        submission = await self._submission(request)
        if caller.account.credit_limit is not None:
            spent = await self._db.lookup(accounts.out_of_credit, [caller.account.id])
            if spent:
                raise OutOfCredit("The account has used up its credit.")
        submitted = await self._intake.submit(caller, submission)
        run = await self._db.lookup(runs.get, caller.account.id, submitted.run_id)
        return await self._answer(request, run, 201)

    async def find(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        query = read_query(request, JobQuery)
        which = RunFilter(labels=_label_filter(request), before=query.before(), limit=query.limit + 1)
        found = await self._db.read(runs.listed, caller.account.id, which)
        shapes, shown = self._rendering.of(request), found.rows[: query.limit]
        cursor = next_cursor(found.rows, query.limit, is_cut=found.is_cut)

        def listed() -> dict[str, Any]:
            return {"jobs": [shapes.listed(run) for run in shown], "next_cursor": cursor}

        return await answer_beside(caller.account.id, found.size, listed)

    async def get(self, request: Request) -> Response:
        _, run = await self._run(request)
        return await self._answer(request, run)

    async def workflow(self, request: Request) -> Response:
        _, run = await self._run(request)
        return answer({"workflow": msgspec.Raw(run.prompt.encode()), "format": "api"})

    async def cancel(self, request: Request) -> Response:
        caller, run = await self._run(request)
        return await self._answer(request, await self._intake.cancel(caller.account.id, run.id))

    async def events(self, request: Request) -> Response:
        _, run = await self._run(request)
        stream = JobStream(self._db, self._hub, self._rendering.of(request), run)
        return self._following.answer(request, run.account_id, run.id, stream.frames)

    async def _submission(self, request: Request) -> Submission:
        body = await read_json(request, JobRequest, self._body_limit_bytes)
        for name in ("webhook_url", "inputs"):
            if getattr(body, name) is not None:
                raise ReservedField(f"'{name}' is reserved and cannot be used yet.")
        if not isinstance(body.workflow, dict):
            raise NoWorkflow("'workflow' must be a graph in ComfyUI's API format.")
        extra_data = body.extra_data.model_dump(exclude_unset=True) if body.extra_data else None
        return Submission(
            workflow_id=DEFAULT_ALIAS,
            prompt=body.workflow,
            extra_data=extra_data,
            labels=check_labels(body.metadata),
            idempotency_key=_idempotency_key(request),
            key_is_single_use=True,
            submitted_via=Api.JOBS,
        )

    async def _run(self, request: Request) -> tuple[Caller, Run]:
        caller = await self._auth.caller(request)
        job_id = request.path_params["job_id"]
        try:
            return caller, await self._db.lookup(runs.by_prompt_id, caller.account.id, job_id)
        except NotFound as error:
            raise NotFound(f"There is no job '{job_id[:100]}'.") from error

    async def _answer(self, request: Request, run: Run, status: int = 200) -> Response:
        progress = progress_of(run, self._hub.newest(run.id))
        position = await self._db.lookup(runs.queue_position, run) if run.state is State.QUEUED else None
        shapes = self._rendering.of(request)
        return await answer_beside(run.account_id, run.about_bytes, lambda: shapes.job(run, progress, position), status)


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not 0 < len(key) <= MAX_KEY_LENGTH or not key.isascii() or not key.isprintable():
        raise InvalidRequest(f"The Idempotency-Key must have 1 to {MAX_KEY_LENGTH} printable ASCII characters.")
    return key


def _label_filter(request: Request) -> dict[str, str]:
    pairs = [
        (key.removeprefix("metadata[").removesuffix("]"), value)
        for key, value in request.query_params.multi_items()
        if key.startswith("metadata[") and key.endswith("]")
    ]
    return check_filter(pairs)
