"""ComfyUI's own editor on a workflow: a bar of ours above it, and what the editor saves."""

from __future__ import annotations

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from comfyward.runs.run import State
from comfyward.store import runs, workflows
from comfyward.store.rows import text_of
from comfyward.store.runs import RunFilter
from comfyward.web.obstacle import obstacle_of
from comfyward.web.runs import waiting_for
from comfyward.web.visit import Pages, Visit

MAX_SHOWN = 5


def routes(pages: Pages) -> list[Route]:
    return [
        pages.get("/workflows/{workflow_id}/edit", edit),
        pages.get("/workflows/{workflow_id}/flight", in_flight),
        pages.get("/workflows/{workflow_id}/graph", graph),
        pages.get("/workflows/{workflow_id}/obstacle", obstacle),
        pages.get("/runs/{run_id}/graph", graph_of_run),
    ]


async def edit(visit: Visit) -> Response:
    workflow = await visit.context.db.lookup(workflows.get, visit.account.id, visit["workflow_id"])
    pools = await visit.context.inventory.pools()
    has_editor = visit.site.frontends.editor is not None
    return visit.page("editor.html", workflow=workflow, pools=pools, has_editor=has_editor)


async def graph(visit: Visit) -> Response:
    """What the editor loads: its own form of the graph, else the API's."""
    workflow = await visit.context.db.lookup(workflows.get, visit.account.id, visit["workflow_id"])
    return _graphs(workflow.editor_graph, workflow.graph)


async def graph_of_run(visit: Visit) -> Response:
    """A run's graph as the editor that made it had it, else as it was sent."""
    run = await visit.context.db.lookup(runs.get, visit.account.id, visit["run_id"])
    extra = msgspec.json.decode(run.extra_data) if run.extra_data else {}
    about = extra.get("extra_pnginfo") if isinstance(extra, dict) else None
    editors = about.get("workflow") if isinstance(about, dict) else None
    is_graph = isinstance(editors, dict) and bool(editors.get("nodes"))
    return _graphs(text_of(editors) if is_graph else None, run.prompt)


def _graphs(editors: str | None, prompt: str | None) -> Response:
    text = f'{{"workflow":{editors or "null"},"prompt":{prompt or "null"}}}'
    return Response(text, media_type="application/json", headers={"Cache-Control": "no-store"})


async def obstacle(visit: Visit) -> Response:
    """The bar's word on what keeps the workflow, as it was saved, from running."""
    workflow = await visit.context.db.lookup(workflows.get, visit.account.id, visit["workflow_id"])
    return visit.page("obstacle.part.html", obstacle=await obstacle_of(visit, workflow))


async def in_flight(visit: Visit) -> Response:
    """The bar's word on the workflow's runs that are on their way."""
    unfinished = (State.QUEUED, State.ASSIGNED, State.RUNNING)
    which = RunFilter(workflow_id=visit["workflow_id"], states=unfinished, oldest_first=True, limit=MAX_SHOWN)
    found = await visit.context.db.read(runs.find, visit.account.id, which)
    waiting = await waiting_for(visit, found[0]) if found else None
    count = await visit.context.db.lookup(runs.count_unfinished, visit.account.id, visit["workflow_id"])
    return visit.page("flight.part.html", first=found[0] if found else None, count=count, waiting=waiting)
