"""Lists of runs, of one workflow or of all, with their filters."""

from __future__ import annotations

import datetime
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from comfyward.api.paging import InvalidCursor, moment_of, next_cursor
from comfyward.dispatch.inventory import Inventory
from comfyward.runs.run import State
from comfyward.store import accounts, runs, workflows
from comfyward.store.db import Database, now_ms
from comfyward.store.runs import RunFilter
from comfyward.web.page import Page
from comfyward.web.page_request import PageRequest
from comfyward.web.problems import PageError

PAGE_SIZE = 40
MAX_ROWS = 100
DAY_MS = 24 * 3600 * 1000
FILTERS = ("status", "accelerator", "workflow", "key", "since", "until")
STATES: dict[str, tuple[State, ...]] = {
    "waiting": (State.QUEUED,),
    "active": (State.ASSIGNED, State.RUNNING),
    "done": (State.SUCCEEDED,),
    "failed": (State.FAILED,),
    "cancelled": (State.CANCELLED,),
}


class RunList:
    def __init__(self, db: Database, inventory: Inventory) -> None:
        self._db, self._inventory = db, inventory

    def pages(self) -> list[Page]:
        return [
            Page("GET", "/runs", self.show, "All runs"),
            Page("GET", "/runs/rows", self.show_rows, "Rows of a list that have changed"),
        ]

    async def show(self, request: PageRequest) -> Response:
        values = await self.values(request)
        return request.render("runs.part.html" if request.is_partial else "runs.html", **values)

    async def show_rows(self, request: PageRequest) -> Response:
        """The rows of the given runs, without those that the filters exclude."""
        account_id, workflow_id = request.account.id, request.query("in") or None
        run_ids = [run_id for run_id in request.query("ids").split(",") if run_id][:MAX_ROWS]
        return request.render(
            "rows.part.html",
            runs=await self._db.read(runs.among, account_id, run_ids, _filter(request, workflow_id)),
            names=await self._db.read(workflows.names, account_id),
            in_workflow=workflow_id is not None,
            catalog=await self._inventory.catalog_lately(),
        )

    async def values(self, request: PageRequest, workflow_id: str | None = None) -> dict[str, Any]:
        """The values of a list's template: a page of runs that fit the filters, and the URL of the next page."""
        account_id, filters = request.account.id, _filters(request)
        listed_at, found = now_ms(), await self._db.read(runs.listed, account_id, _filter(request, workflow_id))
        pools = await self._inventory.pools()
        return {
            "listed_at": listed_at,
            "runs": found.rows[:PAGE_SIZE],
            "more": _next_page(filters, next_cursor(found.rows, PAGE_SIZE, is_cut=found.is_cut)),
            "is_more": bool(request.query("before")),
            "names": await self._db.read(workflows.names, account_id),
            "filters": dict.fromkeys(FILTERS, "") | filters,
            "is_filtered": bool(filters),
            "states": list(STATES),
            "pools": sorted({name for pool in pools for name in (pool.name, *pool.aliases)}),
            "keys": await self._db.read(accounts.keys, account_id),
            "in_workflow": workflow_id,
            "catalog": await self._inventory.catalog_lately(),
        }


def _next_page(filters: dict[str, str], cursor: str | None) -> str | None:
    return None if cursor is None else f"?{urlencode({**filters, 'before': cursor})}"


def _filters(request: PageRequest) -> dict[str, str]:
    """The filters that the query string sets."""
    return {name: value for name in FILTERS if (value := request.query(name))}


def _filter(request: PageRequest, workflow_id: str | None) -> RunFilter:
    until = _day(request.query("until"))
    return RunFilter(
        workflow_id=workflow_id or request.query("workflow") or None,
        states=STATES.get(request.query("status"), ()),
        accelerator=request.query("accelerator") or None,
        api_key_id=request.query("key") or None,
        since=_day(request.query("since")),
        until=None if until is None else until + DAY_MS,
        before=_before(request.query("before")),
        limit=PAGE_SIZE + 1,
    )


def _before(cursor: str) -> tuple[int, str] | None:
    try:
        return moment_of(cursor) if cursor else None
    except InvalidCursor as error:
        raise PageError("The link to this page is invalid.") from error


def _day(text: str) -> int | None:
    """The first moment (ms, UTC) of a date, None for no date."""
    if not text:
        return None
    try:
        day = datetime.date.fromisoformat(text)
    except ValueError as error:
        raise PageError(f"'{text[:40]}' is not a valid date.", hint="Use the format YYYY-MM-DD.") from error
    return int(datetime.datetime.combine(day, datetime.time(), datetime.UTC).timestamp() * 1000)
