"""ComfyUI's own editor on a workflow: the page around it, and the graphs that it loads."""

from __future__ import annotations

from starlette.responses import Response

from comfyward.api.body import answer
from comfyward.dispatch.checks import Checks
from comfyward.dispatch.forecast import QueueForecasts
from comfyward.dispatch.inventory import Inventory
from comfyward.runs.run import State
from comfyward.store import runs, workflows
from comfyward.store.db import Database
from comfyward.store.runs import RunFilter
from comfyward.web.editor_frame import EditorFrames
from comfyward.web.missing_here import missing_here
from comfyward.web.page import Page
from comfyward.web.page_request import PageRequest, policy
from comfyward.web.run_graph import editor_graph_of
from comfyward.web.waiting import waiting_text

MAX_SHOWN = 5
UNFINISHED = (State.QUEUED, State.ASSIGNED, State.RUNNING)


class Editor:
    def __init__(
        self,
        db: Database,
        checks: Checks,
        inventory: Inventory,
        forecasts: QueueForecasts,
        frames: EditorFrames,
        *,
        is_installed: bool,
    ) -> None:
        self._db, self._checks, self._inventory, self._forecasts = db, checks, inventory, forecasts
        self._frames, self._is_installed = frames, is_installed

    def pages(self) -> list[Page]:
        return [
            Page("GET", "/workflows/{workflow_id}/edit", self.show, "ComfyUI's editor on a workflow"),
            Page("GET", "/workflows/{workflow_id}/frame", self.frame, "A new address of the editor's frame, as JSON"),
            Page("GET", "/workflows/{workflow_id}/flight", self.show_unfinished, "The bar's text on unfinished runs"),
            Page("GET", "/workflows/{workflow_id}/graph", self.graph, "Both forms of a workflow's graph, as JSON"),
            Page("GET", "/workflows/{workflow_id}/obstacle", self.show_obstacle, "The bar's text on what cannot run"),
            Page("GET", "/runs/{run_id}/graph", self.graph_of_run, "Both forms of a run's graph, as JSON"),
        ]

    async def show(self, request: PageRequest) -> Response:
        workflow = await self._db.lookup(workflows.get, request.account.id, request["workflow_id"])
        pools = await self._inventory.pools()
        frame = await self._frames.on_page(request, workflow)
        shown = request.render(
            "editor.html", workflow=workflow, pools=pools, has_editor=self._is_installed, frame=frame
        )
        if frame.origin is not None:
            shown.headers["Content-Security-Policy"] = policy(frame.origin)
        return shown

    async def frame(self, request: PageRequest) -> Response:
        """The address for the next quarter of an hour."""
        workflow = await self._db.lookup(workflows.get, request.account.id, request["workflow_id"])
        return answer({"address": self._frames.of(request, workflow.id).address}, headers={"Cache-Control": "no-store"})

    async def graph(self, request: PageRequest) -> Response:
        workflow = await self._db.lookup(workflows.get, request.account.id, request["workflow_id"])
        return _graphs(workflow.editor_graph, workflow.graph)

    async def graph_of_run(self, request: PageRequest) -> Response:
        run = await self._db.lookup(runs.get, request.account.id, request["run_id"])
        return _graphs(editor_graph_of(run), run.prompt)

    async def show_obstacle(self, request: PageRequest) -> Response:
        workflow = await self._db.lookup(workflows.get, request.account.id, request["workflow_id"])
        return request.render("obstacle.part.html", missing=await missing_here(self._checks, workflow))

    async def show_unfinished(self, request: PageRequest) -> Response:
        account_id, workflow_id = request.account.id, request["workflow_id"]
        which = RunFilter(workflow_id=workflow_id, states=UNFINISHED, oldest_first=True, limit=MAX_SHOWN)
        found = await self._db.read(runs.find, account_id, which)
        waiting = waiting_text(found[0].pool, await self._forecasts.of(found[0])) if found else None
        count = await self._db.lookup(runs.count_unfinished, account_id, workflow_id)
        return request.render("flight.part.html", first=found[0] if found else None, count=count, waiting=waiting)


def _graphs(editor_graph: str | None, prompt: str | None) -> Response:
    text = f'{{"workflow":{editor_graph or "null"},"prompt":{prompt or "null"}}}'
    return Response(text, media_type="application/json", headers={"Cache-Control": "no-store"})
