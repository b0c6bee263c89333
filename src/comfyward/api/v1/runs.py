"""Runs of v1: lists, one run, its events and log, cancelling and deleting."""

from __future__ import annotations

from collections.abc import AsyncIterator

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.auth import Auth
from comfyward.api.body import answer_beside
from comfyward.api.endpoint import EVENT_STREAM, NOTHING, TEXT, Endpoint, Models
from comfyward.api.following import Following
from comfyward.api.query import read_query
from comfyward.api.v1 import answers
from comfyward.api.v1.pages import PAGED, PageQuery
from comfyward.api.v1.shapes import Rendering
from comfyward.api.whole_numbers import LARGEST, whole_number
from comfyward.delivery.hub import Hub, Listener
from comfyward.delivery.stream import stream_events, wait_until_over
from comfyward.dispatch.intake import Intake
from comfyward.errors import Conflict, InvalidRequest, NotFound
from comfyward.runs.run import EndReason, PublicStatus, Run, State, states_of
from comfyward.store import runs, workflows
from comfyward.store.db import Database, now_ms
from comfyward.store.runs import RunFilter

MAX_WAIT_S = 60


class WaitQuery(BaseModel):
    wait: float = Field(
        0, ge=0, le=MAX_WAIT_S, allow_inf_nan=False, description="Seconds to wait until the run is over."
    )


class EventsQuery(BaseModel):
    after: int = Field(0, ge=0, le=LARGEST, description="As Last-Event-ID.")


class RunsQuery(PageQuery):
    status: PublicStatus | None = Field(None, description="Only runs with this status.")
    state: State | None = Field(
        None, description="Only runs in this state; unlike `status` it tells cancelled ones apart."
    )
    end_reason: EndReason | None = Field(None, description="Only runs that ended for this reason.")
    accelerator: str | None = Field(None, description="Only runs that asked for this accelerator.")
    workflow: str | None = Field(None, description="Only runs of this workflow.")

    def states(self) -> tuple[State, ...]:
        """The states to list; none for all. Raises InvalidRequest for a status and a state that never meet."""
        wanted = frozenset(State) if self.status is None else states_of(self.status)
        if self.state is not None:
            wanted &= {self.state}
        if not wanted:
            raise InvalidRequest(f"No run with status {self.status} is {self.state}.", hint="Give one of them.")
        return () if len(wanted) == len(State) else tuple(wanted)

    def filter(self, workflow_id: str | None) -> RunFilter:
        """The runs of this page, and one more if there is another page. Raises InvalidRequest."""
        is_out_of_credit = self.status is PublicStatus.INSUFFICIENT_CREDIT
        return RunFilter(
            workflow_id=workflow_id,
            states=self.states(),
            end_reason=EndReason.INSUFFICIENT_CREDIT if is_out_of_credit else self.end_reason,
            accelerator=self.accelerator,
            before=self.before(),
            limit=self.limit + 1,
        )


class Runs:
    def __init__(self, auth: Auth, db: Database, hub: Hub, intake: Intake, rendering: Rendering) -> None:
        self._auth, self._db, self._hub, self._intake, self._rendering = auth, db, hub, intake, rendering
        self._following = Following(auth, hub)

    def endpoints(self) -> list[Endpoint]:
        run, listed = (
            Models(answer=answers.Run),
            Models(query=RunsQuery, answer=list[answers.Run], answer_headers=PAGED),
        )
        waited = Models(query=WaitQuery, answer=answers.Run)
        of_workflow = "/workflows/{workflow_id}/runs"
        of_run = f"{of_workflow}/{{run_id}}"
        return [
            Endpoint("GET", of_run, self.get, "Get a run", waited),
            Endpoint("GET", of_workflow, self.find_of_workflow, "List the runs of a workflow", listed),
            Endpoint("GET", "/runs", self.find, "List all runs", listed),
            Endpoint("GET", "/runs/{run_id}", self.get, "Get a run by its id alone", waited),
            Endpoint("GET", f"{of_run}/events", self.events, "Follow a run", FOLLOWED),
            Endpoint("GET", f"{of_run}/log", self.log, "ComfyUI's log of a run", Models(answer=TEXT)),
            Endpoint("POST", f"{of_run}/cancel", self.cancel, "Cancel a run", run),
            Endpoint("DELETE", of_run, self.delete, "Delete a run and its outputs", NOTHING),
        ]

    async def get(self, request: Request) -> Response:
        caller, wait_s = await self._auth.caller(request), read_query(request, WaitQuery).wait
        run_id = request.path_params["run_id"]
        run = await wait_until_over(self._db, self._hub, caller.account.id, run_id, wait_s)
        return await self._shown(request, _in_its_workflow(request, run))

    async def find_of_workflow(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        workflow = await self._db.lookup(workflows.get, caller.account.id, request.path_params["workflow_id"])
        return await self._listed(request, caller.account.id, read_query(request, RunsQuery), workflow.id)

    async def find(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        query = read_query(request, RunsQuery)
        return await self._listed(request, caller.account.id, query, query.workflow)

    async def events(self, request: Request) -> Response:
        run = await requested_run(request, self._auth, self._db)
        after = read_query(request, EventsQuery).after
        seen = whole_number(request.headers.get("last-event-id", ""))
        last = after if seen is None else seen
        account_id, run_id = run.account_id, run.id  # alone, for as long as it is followed: a run has a graph

        def frames(listener: Listener) -> AsyncIterator[bytes]:
            return stream_events(self._db, self._hub, listener, account_id, run_id, last)

        return self._following.answer(request, account_id, run_id, frames)

    async def log(self, request: Request) -> Response:
        run = await requested_run(request, self._auth, self._db)
        return Response(await self._db.read(runs.log_of, run.account_id, run.id), media_type=TEXT)

    async def cancel(self, request: Request) -> Response:
        run = await requested_run(request, self._auth, self._db)
        return await self._shown(request, await self._intake.cancel(run.account_id, run.id))

    async def delete(self, request: Request) -> Response:
        run = await requested_run(request, self._auth, self._db)
        if not run.state.is_final:
            raise Conflict("The run has not finished yet.", hint="Cancel it first.")
        await self._db.write(runs.remove, run.account_id, run.id, now_ms())
        return Response(status_code=204)

    async def _shown(self, request: Request, run: Run) -> Response:
        shapes = self._rendering.of(request)
        return await answer_beside(run.account_id, run.about_bytes, lambda: shapes.run(run))

    async def _listed(self, request: Request, account_id: str, query: RunsQuery, workflow_id: str | None) -> Response:
        found = await self._db.read(runs.listed, account_id, query.filter(workflow_id))
        shapes, shown = self._rendering.of(request), found.rows[: query.limit]
        headers = query.headers(found)
        return await answer_beside(account_id, found.size, lambda: [shapes.run(run) for run in shown], headers=headers)


FOLLOWED = Models(
    query=EventsQuery,
    headers={"Last-Event-ID": "The id of the last event that was received: the stream goes on after it."},
    answer=EVENT_STREAM,
    description="Server-Sent Events: status, download, progress, preview, output. Send Last-Event-ID to go on.",
)


async def requested_run(request: Request, auth: Auth, db: Database) -> Run:
    """The caller's run that the path names; through a workflow's path only if it belongs there. Raises NotFound."""
    caller = await auth.caller(request)
    return _in_its_workflow(request, await db.lookup(runs.get, caller.account.id, request.path_params["run_id"]))


def _in_its_workflow(request: Request, run: Run) -> Run:
    """The run, if it belongs to the workflow that the path names, where it names one. Raises NotFound."""
    workflow_id = request.path_params.get("workflow_id", run.workflow_id)
    if workflow_id not in (run.workflow_id, workflows.DEFAULT_ALIAS):
        raise NotFound(f"There is no run '{run.id}' in workflow '{workflow_id}'.")
    return run
