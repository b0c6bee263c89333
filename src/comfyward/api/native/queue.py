"""The queue of ComfyUI's API: runs that are running, and those that wait, in the order in which they start."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.body import encoded
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.native.models import QueueState
from comfyward.api.native.scope import Scopes
from comfyward.api.native.shapes import UNFINISHED_STATES, number_of, queue_item, rising_numbers
from comfyward.api.native.whole_lists import WholeLists, json_of
from comfyward.dispatch.inventory import Inventory
from comfyward.dispatch.placement import in_order
from comfyward.runs.run import Run, State
from comfyward.runs.waiting_run import WaitingRun
from comfyward.store import run_parts
from comfyward.store.db import Database, now_ms
from comfyward.store.run_parts import Outline
from comfyward.workflows.catalog import Catalog

MAX_LISTED = 1000


class Queue:
    def __init__(self, db: Database, scopes: Scopes, inventory: Inventory, ageing_ms: int) -> None:
        """A run that waits for `ageing_ms` rises by one step of priority."""
        self._db, self._scopes, self._inventory, self._ageing_ms = db, scopes, inventory, ageing_ms
        self._lists = WholeLists(db)

    def endpoints(self) -> list[Endpoint]:
        return [Endpoint("GET", "/queue", self.queue, "The queue", Models(answer=QueueState))]

    async def queue(self, request: Request) -> Response:
        scope = await self._scopes.of(request)
        which = scope.runs(states=UNFINISHED_STATES, next_first=True, limit=MAX_LISTED)
        found = await self._db.read(run_parts.outlines, scope.account_id, which)
        catalogs = await self._inventory.catalogs_lately(each.environment for each in found)
        return await json_of(request, found, self._items(scope.account_id, found, catalogs))

    async def _items(
        self, account_id: str, found: Sequence[Outline], catalogs: Mapping[str, Catalog | None]
    ) -> AsyncIterator[bytes]:
        """The queue as JSON, in pieces. What was running or waiting when it was asked for is shown so."""
        running = [each for each in found if each.state is State.RUNNING]
        pending = self._in_order([each for each in found if each.state is not State.RUNNING])
        numbers = {each.id: number_of(each) for each in running}
        numbers |= {each.id: number for each, number in zip(pending, rising_numbers(pending), strict=True)}

        def items(batch: Sequence[Run]) -> bytes:
            return encoded([queue_item(run, catalogs[run.environment], numbers[run.id]) for run in batch])[1:-1]

        yield b'{"queue_running":['
        async for piece in self._lists.members(account_id, running, items):
            yield piece
        yield b'],"queue_pending":['
        async for piece in self._lists.members(account_id, pending, items):
            yield piece
        yield b"]}"

    def _in_order(self, pending: list[Outline]) -> list[Outline]:
        """Assigned runs first, then queued ones in the order of placement."""
        assigned = [run for run in pending if run.state is not State.QUEUED]
        queued = {run.id: run for run in pending if run.state is State.QUEUED}
        waiting = (
            WaitingRun(
                run.id, run.pool, run.environment, run.queued_at, frozenset(), priority=run.priority, turn=run.turn
            )
            for run in queued.values()
        )
        ordered = in_order(waiting, now_ms(), self._ageing_ms)
        return [*assigned, *(queued[each.id] for each in ordered)]
