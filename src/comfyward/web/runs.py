"""Runs: the list (of one workflow or of all), a run's page, and what can be done with a run."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from comfyward.accounts.usage import credits_for
from comfyward.api.body import streamed
from comfyward.api.paging import InvalidCursor, cursor_of, moment_of
from comfyward.files.objects import blob_key
from comfyward.runs.files import disposition
from comfyward.runs.run import Run, State
from comfyward.store import accounts, runs, workflows
from comfyward.store.db import now_ms
from comfyward.store.runs import RunFilter
from comfyward.web import words
from comfyward.web.archive import Member, zip_of
from comfyward.web.failures import advices_on
from comfyward.web.form import all_inputs
from comfyward.web.problems import PageError
from comfyward.web.timeline import phases
from comfyward.web.visit import HEADERS, Pages, Visit
from comfyward.workflows.graph import names_of, parse_graph

PAGE = 40
MAX_ROWS = 100
STATES: dict[str, tuple[State, ...]] = {
    "waiting": (State.QUEUED,),
    "active": (State.ASSIGNED, State.RUNNING),
    "done": (State.SUCCEEDED,),
    "failed": (State.FAILED,),
    "cancelled": (State.CANCELLED,),
}


def routes(pages: Pages) -> list[Route]:
    return [
        pages.get("/runs", show_all),
        pages.get("/runs/rows", rows),
        pages.get("/runs/{run_id}", show),
        pages.get("/runs/{run_id}/log", log),
        pages.get("/runs/{run_id}/outputs.zip", download_all),
        pages.post("/runs/{run_id}/again", again),
        pages.post("/runs/{run_id}/cancel", cancel),
        pages.post("/runs/{run_id}/delete", delete),
    ]


async def show_all(visit: Visit) -> Response:
    values = await list_values(visit, None)
    return visit.page("runs.part.html" if visit.is_partial else "runs.html", **values)


async def rows(visit: Visit) -> Response:
    """Some runs as rows of a list, those that its filters hold: a page asks when it hears that they changed."""
    run_ids = [run_id for run_id in visit.asked("ids").split(",") if run_id][:MAX_ROWS]
    which, names = _filter(visit, visit.asked("in") or None), await _names(visit)
    found = await visit.context.db.read(runs.among, visit.account.id, run_ids, which)
    catalog = await visit.context.inventory.catalog_lately()
    return visit.page("rows.part.html", runs=found, names=names, in_workflow=bool(visit.asked("in")), catalog=catalog)


async def list_values(visit: Visit, workflow_id: str | None) -> dict[str, Any]:
    """What the template of a list needs: the runs that the address's filters hold, and how to get more."""
    db, account = visit.context.db, visit.account
    which = _filter(visit, workflow_id)
    made_at, found = now_ms(), await db.read(runs.find, account.id, which)
    shown, query = found[:PAGE], _asked(visit)
    more = None
    if len(found) > PAGE:
        more = f"?{urlencode({**query, 'before': cursor_of(shown[-1].created_at, shown[-1].id)})}"
    return {
        "made_at": made_at,
        "runs": shown,
        "more": more,
        "is_more": bool(visit.asked("before")),
        "names": await _names(visit),
        "filters": dict.fromkeys(_FILTERS, "") | query,
        "is_filtered": bool(query),
        "states": list(STATES),
        "pools": sorted(
            {alias for pool in await visit.context.inventory.pools() for alias in (pool.name, *pool.aliases)}
        ),
        "keys": await db.read(accounts.keys, account.id),
        "in_workflow": workflow_id,
        "catalog": await visit.context.inventory.catalog_lately(),
    }


async def show(visit: Visit) -> Response:
    run = await visit.context.db.lookup(runs.get, visit.account.id, visit["run_id"])
    values = await _run_values(visit, run)
    return visit.page("run.part.html" if visit.is_partial else "run.html", **values)


async def log(visit: Visit) -> Response:
    text = await visit.context.db.read(runs.log_of, visit.account.id, visit["run_id"])
    return visit.page("log.part.html", text=text)


async def download_all(visit: Visit) -> Response:
    run = await visit.context.db.lookup(runs.get, visit.account.id, visit["run_id"])
    if not run.outputs:
        raise PageError("The run has left no files.", status=409)

    async def members() -> AsyncIterator[Member]:
        for output in run.outputs:
            yield output["name"], await visit.context.objects.read(blob_key(output["digest"]))

    headers = {**HEADERS, "Content-Disposition": disposition("attachment", f"{run.id}.zip")}
    return streamed(visit.request, zip_of(members()), headers=headers, media_type="application/zip")


async def again(visit: Visit) -> Response:
    run_id = await visit.context.intake.retry(visit.who, visit["run_id"], visit.intent)
    return visit.to(f"/runs/{run_id}")


async def cancel(visit: Visit) -> Response:
    run = await visit.context.intake.cancel(visit.account.id, visit["run_id"])
    return visit.to(f"/runs/{run.id}")


async def delete(visit: Visit) -> Response:
    db, account = visit.context.db, visit.account
    run = await db.lookup(runs.get, account.id, visit["run_id"])
    if not run.state.is_final:
        raise PageError("The run has not finished yet.", hint="Cancel it first.", status=409)
    await db.write(runs.remove, account.id, run.id, now_ms())
    return visit.to(f"/workflows/{run.workflow_id}")


async def waiting_for(visit: Visit, run: Run) -> str | None:
    """What a queued run waits for, in words; None for a run that is not waiting."""
    if run.state is not State.QUEUED:
        return None
    context = visit.context
    forecast = await context.forecasts.of(run)
    if forecast is None:
        return None
    found = forecast.explanation
    if found.waits_for == "worker":
        return f"starting {words.with_article(run.pool)}…"
    soon = "" if not found.expected_in_ms else f" Expected to start in {words.span(found.expected_in_ms)}."
    return f"place {forecast.place} in the queue of {run.pool}. {found.reason}{soon}"


async def _run_values(visit: Visit, run: Run) -> dict[str, Any]:
    db, account = visit.context.db, visit.account
    older, newer = await db.read(runs.neighbours, account.id, run)
    keys = {key.id: key for key in await db.read(accounts.keys, account.id)}
    graph, catalog = parse_graph(msgspec.json.decode(run.prompt)), await visit.context.inventory.catalog_lately()
    is_on, spent = not run.state.is_final, await db.read(accounts.cost_of, account.id, run.id) or 0.0
    gpu_ms = now_ms() - run.started_at if run.started_at is not None and run.state is State.RUNNING else run.run_time_ms
    return {
        "run": run,
        "name": (await _names(visit)).get(run.workflow_id, "Deleted workflow"),
        "phases": phases(run, now_ms()),
        "waiting": await waiting_for(visit, run),
        "older": older,
        "newer": newer,
        "key": keys.get(run.api_key_id or ""),
        "cost": spent + credits_for(gpu_ms or 0, run.credits_per_s) if is_on else spent,
        "gpu_ms": gpu_ms,
        "nodes": list(graph.nodes.values()),
        "inputs": await all_inputs(visit, run.prompt),
        "titles": names_of(graph, catalog.display_names if catalog else {}),
        "advices": advices_on(run, catalog),
    }


async def _names(visit: Visit) -> dict[str, str]:
    return await visit.context.db.read(workflows.names, visit.account.id)


def _asked(visit: Visit) -> dict[str, str]:
    """The filters of the address that are set."""
    return {name: value for name in _FILTERS if (value := visit.asked(name))}


_FILTERS = ("status", "accelerator", "workflow", "key", "since", "until")


def _filter(visit: Visit, workflow_id: str | None) -> RunFilter:
    until = _day(visit.asked("until"))
    return RunFilter(
        workflow_id=workflow_id or visit.asked("workflow") or None,
        states=STATES.get(visit.asked("status"), ()),
        accelerator=visit.asked("accelerator") or None,
        api_key_id=visit.asked("key") or None,
        since=_day(visit.asked("since")),
        until=None if until is None else until + 24 * 3600 * 1000,
        before=_before(visit.asked("before")),
        limit=PAGE + 1,
    )


def _before(cursor: str) -> tuple[int, str] | None:
    try:
        return moment_of(cursor) if cursor else None
    except InvalidCursor as error:
        raise PageError("The address of this page is not complete.") from error


def _day(text: str) -> int | None:
    """The first moment (ms, UTC) of a date, None for no date."""
    if not text:
        return None
    try:
        day = datetime.date.fromisoformat(text)
    except ValueError as error:
        raise PageError(f"'{text[:40]}' is not a date.", hint="Write it as 2026-11-30.") from error
    return int(datetime.datetime.combine(day, datetime.time(), datetime.UTC).timestamp() * 1000)
