"""The history of ComfyUI's API: runs that have ended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.body import answer, answer_beside, encoded
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.leniency import is_true
from comfyward.api.native.models import HistoryChange, HistoryEntry, HistoryQuery
from comfyward.api.native.requests import list_of, number_in, read_object
from comfyward.api.native.scope import Scopes, find_run
from comfyward.api.native.shapes import history_entry, is_in_history
from comfyward.api.native.whole_lists import WholeLists, json_of
from comfyward.dispatch.inventory import Inventory
from comfyward.runs.run import FINAL_STATES, Run
from comfyward.store import run_parts, runs
from comfyward.store.db import Database, now_ms
from comfyward.store.run_parts import Outline
from comfyward.workflows.catalog import Catalog

MAX_LISTED = 1000


class History:
    def __init__(self, db: Database, scopes: Scopes, inventory: Inventory, body_limit_bytes: int) -> None:
        self._db, self._scopes, self._inventory, self._body_limit_bytes = db, scopes, inventory, body_limit_bytes
        self._lists = WholeLists(db)

    def endpoints(self) -> list[Endpoint]:
        entries: Any = dict[str, HistoryEntry]
        listed, one = Models(query=HistoryQuery, answer=entries), Models(answer=entries)
        return [
            Endpoint("GET", "/history", self.find, "The history", listed),
            Endpoint("POST", "/history", self.change, "Remove runs from the history", Models(body=HistoryChange)),
            Endpoint("GET", "/history/{prompt_id:path}", self.get, "A run in the history, if it has ended", one),
        ]

    async def find(self, request: Request) -> Response:
        """The newest, oldest of them first; with an offset, counted from the oldest of all."""
        scope = await self._scopes.of(request)
        limit, offset = number_in(request, "max_items", MAX_LISTED), number_in(request, "offset", -1)
        which = scope.runs(
            states=tuple(FINAL_STATES),
            in_history=True,
            limit=max(0, min(limit, MAX_LISTED)),
            offset=max(0, offset),
            oldest_first=offset >= 0,
        )
        found = await self._db.read(run_parts.outlines, scope.account_id, which)
        ordered = found if offset >= 0 else found[::-1]
        catalogs = await self._inventory.catalogs_lately(each.environment for each in ordered)
        return await json_of(request, ordered, self._entries(scope.account_id, ordered, catalogs))

    async def _entries(
        self, account_id: str, ordered: Sequence[Outline], catalogs: Mapping[str, Catalog | None]
    ) -> AsyncIterator[bytes]:
        def members(found: Sequence[Run]) -> bytes:
            return encoded({run.prompt_id: history_entry(run, catalogs[run.environment]) for run in found})[1:-1]

        yield b"{"
        async for piece in self._lists.members(account_id, ordered, members):
            yield piece
        yield b"}"

    async def get(self, request: Request) -> Response:
        scope = await self._scopes.of(request)
        run = await find_run(self._db, scope, request.path_params["prompt_id"])
        if run is None or not is_in_history(run):
            return answer({})
        catalog, size = await self._inventory.catalog_lately(run.environment), run.about_bytes
        return await answer_beside(scope.account_id, size, lambda: {run.prompt_id: history_entry(run, catalog)})

    async def change(self, request: Request) -> Response:
        """Removes runs from ComfyUI's history only: they stay in the account's lists, with their outputs."""
        scope, body = await self._scopes.of(request), await read_object(request, self._body_limit_bytes)
        is_all = is_true(body.get("clear"))
        if is_all or body.get("delete"):
            named = None if is_all else [str(each) for each in list_of(body.get("delete"))]
            await self._db.write(runs.clear_history, scope.account_id, scope.runs(), named, now_ms())
        return Response()
