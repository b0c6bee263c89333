"""Jobs of Comfy API v2: submit, get, list, workflow, cancel, events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from comfyward.accounts.account import Caller
from comfyward.api import leniency
from comfyward.api.body import answer, read_json, streamed
from comfyward.api.context import Context
from comfyward.api.paging import InvalidCursor, cursor_of, moment_of
from comfyward.api.v2.shapes import (
    Shapes,
    classes_of,
    progress_of,
    progress_shape,
    status_of,
    status_of_state,
)
from comfyward.api.whole_numbers import whole_number
from comfyward.delivery.hub import Listener
from comfyward.delivery.stream import frame
from comfyward.dispatch.intake import Submission
from comfyward.errors import InvalidRequest, NotFound, OutOfCredit
from comfyward.runs.event import Event, EventType, picture_of
from comfyward.runs.labels import check_filter, check_labels
from comfyward.runs.run import Api, Run, State
from comfyward.store import accounts, runs
from comfyward.store.runs import RunFilter
from comfyward.store.workflows import DEFAULT_ALIAS

MAX_KEY_LENGTH = 255
MAX_PAGE = 100
DEFAULT_PAGE = 50
KEEPALIVE_S = 10.0
POSITION_S = 1.0
KEEPALIVE = b": keepalive\n\n"


class ExtraData(BaseModel):
    """A closed object: partner nodes' credentials, nothing else."""

    model_config = ConfigDict(extra="forbid", strict=True)

    api_key_comfy_org: str = ""
    auth_token_comfy_org: str = ""


class JobRequest(leniency.Request):
    workflow: Any = None
    extra_data: ExtraData | None = None
    metadata: Any = None
    webhook_url: Any = None
    inputs: Any = None


class Reserved(InvalidRequest):
    status = 422


class NoWorkflow(InvalidRequest):
    code = "invalid_workflow"
    status = 422


def routes(context: Context) -> list[Route]:
    handlers = _Jobs(context)
    return [
        Route("/jobs", handlers.create, methods=["POST"]),
        Route("/jobs", handlers.find, methods=["GET"]),
        Route("/jobs/{job_id}", handlers.get, methods=["GET"]),
        Route("/jobs/{job_id}/workflow", handlers.workflow, methods=["GET"]),
        Route("/jobs/{job_id}/cancel", handlers.cancel, methods=["POST"]),
        Route("/jobs/{job_id}/events", handlers.events, methods=["GET"]),
    ]


class _Jobs:
    def __init__(self, context: Context) -> None:
        self._context, self._db = context, context.db

    async def create(self, request: Request) -> Response:
        caller = await self._context.auth.caller(request)
        submission = await self._submission(request)
        if caller.account.credit_limit is not None:
            spent = await self._db.lookup(accounts.out_of_credit, [caller.account.id])
            if spent:
                raise OutOfCredit("The account has used up its credit.")
        submitted = await self._context.intake.submit(caller, submission)
        run = await self._db.lookup(runs.get, caller.account.id, submitted.run_id)
        return await self._answer(request, run, 201)

    async def find(self, request: Request) -> Response:
        caller = await self._context.auth.caller(request)
        limit = _limit_of(request)
        which = RunFilter(labels=_label_filter(request), before=_before(request), limit=limit + 1)
        found = await self._db.read(runs.find, caller.account.id, which)
        shown, shapes = found[:limit], self._shapes(request)
        cursor = cursor_of(shown[-1].created_at, shown[-1].id) if len(found) > limit else None
        return answer({"jobs": [shapes.listed(run) for run in shown], "next_cursor": cursor})

    async def get(self, request: Request) -> Response:
        _, run = await self._run(request)
        return await self._answer(request, run)

    async def workflow(self, request: Request) -> Response:
        _, run = await self._run(request)
        return answer({"workflow": msgspec.Raw(run.prompt.encode()), "format": "api"})

    async def cancel(self, request: Request) -> Response:
        caller, run = await self._run(request)
        cancelled = await self._context.intake.cancel(caller.account.id, run.id)
        return await self._answer(request, cancelled)

    async def events(self, request: Request) -> Response:
        _, run = await self._run(request)
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        stream = _Stream(self._context, self._shapes(request), run).frames()
        return streamed(request, stream, media_type="text/event-stream", headers=headers)

    async def _submission(self, request: Request) -> Submission:
        body = await read_json(request, JobRequest, self._context.settings.body_limit_bytes)
        for name in ("webhook_url", "inputs"):
            if getattr(body, name) is not None:
                raise Reserved(f"'{name}' is reserved and cannot be used yet.")
        if not isinstance(body.workflow, dict):
            raise NoWorkflow("'workflow' is missing: send a graph in ComfyUI's API format.")
        extra_data = body.extra_data.model_dump(exclude_unset=True) if body.extra_data else None
        return Submission(
            workflow_id=DEFAULT_ALIAS,
            prompt=body.workflow,
            extra_data=extra_data,
            labels=check_labels(body.metadata),
            idempotency_key=_key_of(request),
            key_is_single_use=True,
            submitted_via=Api.JOBS,
        )

    async def _run(self, request: Request) -> tuple[Caller, Run]:
        caller = await self._context.auth.caller(request)
        job_id = request.path_params["job_id"]
        try:
            return caller, await self._db.lookup(runs.by_prompt_id, caller.account.id, job_id)
        except NotFound as error:
            raise NotFound(f"There is no job '{job_id[:100]}'.") from error

    async def _answer(self, request: Request, run: Run, status: int = 200) -> Response:
        live = self._context.hub.newest(run.id)
        position = await self._db.lookup(runs.queue_position, run) if run.state is State.QUEUED else None
        return answer(self._shapes(request).job(run, progress_of(run, live), position), status)

    def _shapes(self, request: Request) -> Shapes:
        context = self._context
        return Shapes(context.auth, context.base_url(request), context.settings.retention_days)


class _Stream:
    """The events of one job: where it stands now, then what happens, to its end. Nothing is replayed."""

    def __init__(self, context: Context, shapes: Shapes, run: Run) -> None:
        self._context, self._shapes, self._run = context, shapes, run
        self._classes = classes_of(run)
        self._position: int | None = None
        self._value = 0.0
        self._seen = 0

    async def frames(self) -> AsyncIterator[bytes]:
        with self._context.hub.listen(self._run.id) as listener:
            run, self._position = await self._context.db.lookup(_look, self._run.account_id, self._run.id)
            self._seen = run.event_seq
            self._context.hub.start_after(run.id, run.event_seq)
            chunks = [frame("output", self._shapes.output(run.prompt_id, output)) for output in run.outputs]
            chunks.append(frame("status", {"status": status_of(run), "queue_position": self._position}))
            if run.state.is_final:
                yield b"".join(chunks)
                return
            yield b"".join(
                chunks + [each for event in self._context.hub.newest(run.id) for each in self._chunks(event)]
            )
            async for chunk in self._live(listener):
                yield chunk

    async def _live(self, listener: Listener) -> AsyncIterator[bytes]:
        """What has happened meanwhile is sent together: each piece costs the same, however long it is."""
        last_sent = asyncio.get_running_loop().time()
        while True:
            events: list[Event] = []
            try:
                events = await listener.all(POSITION_S if self._position is not None else KEEPALIVE_S)
                chunks = [chunk for event in events for chunk in self._chunks(event)]
            except TimeoutError:
                chunks = await self._moved_up() if self._position is not None else []
                if not chunks and asyncio.get_running_loop().time() - last_sent >= KEEPALIVE_S:
                    chunks = [KEEPALIVE]
            else:
                if not events:
                    return
            if chunks:
                last_sent = asyncio.get_running_loop().time()
                yield b"".join(chunks)
            if any(event.is_last for event in events):
                return

    async def _moved_up(self) -> list[bytes]:
        """A new place in the queue, if it has changed."""
        run, position = await self._context.db.lookup(_look, self._run.account_id, self._run.id)
        if position is None or position == self._position:
            return []
        self._position = position
        return [frame("status", {"status": status_of(run), "queue_position": position})]

    def _chunks(self, event: Event) -> list[bytes]:
        """The frames of an event; none for one that happened before the state that was told first."""
        data = event.data
        if event.seq is not None and event.seq <= self._seen:
            return []
        match event.type:
            case EventType.STATUS:
                self._position = None if data["state"] != State.QUEUED else self._position or 1
                return [frame("status", {"status": status_of_state(data["state"]), "queue_position": self._position})]
            case EventType.CANCELLING:
                return [frame("status", {"status": "canceling", "queue_position": None})]
            case EventType.OUTPUT:
                return [frame("output", self._shapes.output(self._run.prompt_id, data))]
            case EventType.PROGRESS:
                progress = progress_shape(data, self._classes)
                self._value = progress["value"] = max(self._value, progress["value"])
                return [frame("progress", progress)]
            case EventType.PREVIEW:
                content_type, encoded = picture_of(data["image"])
                preview = {"node_id": data["node"] or "", "content_type": content_type, "data_base64": encoded}
                return [frame("preview", preview)]
            case _:
                return []


def _look(conn: Connection, account_id: str, run_id: str) -> tuple[Run, int | None]:
    """A run, and its place in the queue while it has one."""
    run = runs.get(conn, account_id, run_id)
    return run, runs.queue_position(conn, run) if run.state is State.QUEUED else None


def _key_of(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not 0 < len(key) <= MAX_KEY_LENGTH or not key.isascii() or not key.isprintable():
        raise InvalidRequest(f"The Idempotency-Key must have 1 to {MAX_KEY_LENGTH} printable ASCII characters.")
    return key


def _limit_of(request: Request) -> int:
    limit = whole_number(request.query_params.get("limit") or str(DEFAULT_PAGE), least=1, most=MAX_PAGE)
    if limit is None:
        raise InvalidRequest(f"'limit' must be 1 to {MAX_PAGE}.")
    return limit


def _label_filter(request: Request) -> dict[str, str]:
    pairs = [
        (key.removeprefix("metadata[").removesuffix("]"), value)
        for key, value in request.query_params.multi_items()
        if key.startswith("metadata[") and key.endswith("]")
    ]
    return check_filter(pairs)


class _InvalidCursor(InvalidRequest):
    code = "invalid_cursor"


def _before(request: Request) -> tuple[int, str] | None:
    cursor = request.query_params.get("cursor")
    try:
        return moment_of(cursor) if cursor else None
    except InvalidCursor as error:
        raise _InvalidCursor("The cursor is not one that a list gave.") from error
