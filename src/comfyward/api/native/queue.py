"""The queue of ComfyUI's API: runs that are running, and those that wait, in the order in which they start."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.body import answer
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.native.models import QueueState
from comfyward.api.native.scope import Scopes
from comfyward.api.native.shapes import UNFINISHED_STATES, queue_item, rising_numbers
from comfyward.dispatch.inventory import Inventory
from comfyward.dispatch.placement import in_order
from comfyward.runs.run import Run, State
from comfyward.runs.waiting_run import WaitingRun
from comfyward.store import runs
from comfyward.store.db import Database, now_ms

MAX_LISTED = 1000


class Queue:
    def __init__(self, db: Database, scopes: Scopes, inventory: Inventory, ageing_ms: int) -> None:
        """A run that waits for `ageing_ms` rises by one step of priority."""
        self._db, self._scopes, self._inventory, self._ageing_ms = db, scopes, inventory, ageing_ms

    def endpoints(self) -> list[Endpoint]:
        return [Endpoint("GET", "/queue", self.queue, "The queue", Models(answer=QueueState))]

    async def queue(self, request: Request) -> Response:
        scope = await self._scopes.of(request)
        which = scope.runs(states=UNFINISHED_STATES, next_first=True, limit=MAX_LISTED)
        found = await self._db.read(runs.find, scope.account_id, which)
        catalogs = await self._inventory.catalogs_lately(run.environment for run in found)
        running = [queue_item(run, catalogs[run.environment]) for run in found if run.state is State.RUNNING]
        pending = self._in_order([run for run in found if run.state is not State.RUNNING])
        numbered = zip(pending, rising_numbers(pending), strict=True)
        waiting = [queue_item(run, catalogs[run.environment], number) for run, number in numbered]
        return answer({"queue_running": running, "queue_pending": waiting})

    def _in_order(self, pending: list[Run]) -> list[Run]:
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
