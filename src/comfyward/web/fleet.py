"""Pools with their queues and workers with their runs, for admins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from comfyward.delivery.hub import Hub
from comfyward.dispatch.catalogs import differs_from_most
from comfyward.dispatch.inventory import Inventory
from comfyward.fleet.fleet import OwnFleet
from comfyward.runs.event import Progress
from comfyward.runs.run import DEFAULT_ENVIRONMENT, Run
from comfyward.store import fleets, leases, queue, workers
from comfyward.store.db import Database, now_ms
from comfyward.web.page import Access, Page
from comfyward.web.page_request import PageRequest


class FleetPage:
    """`prices` are credits per second by pool; `local_min` is the least number of workers in each local pool."""

    def __init__(
        self,
        db: Database,
        inventory: Inventory,
        hub: Hub,
        fleet: OwnFleet,
        prices: Mapping[str, float],
        local_min: int,
    ) -> None:
        self._db, self._inventory, self._hub, self._fleet = db, inventory, hub, fleet
        self._prices, self._local_min = prices, local_min

    def pages(self) -> list[Page]:
        return [Page("GET", "/fleet", self.show, "Pools and workers", Access.ADMINS)]

    async def show(self, request: PageRequest) -> Response:
        values = await self._values()
        return request.render("fleet.part.html" if request.is_partial else "fleet.html", **values, tab="workers")

    async def _values(self) -> dict[str, Any]:
        db, now, catalog = self._db, now_ms(), await self._inventory.catalog_lately()
        present = await db.read(workers.find, now - workers.PRESENT_MS)
        present_ids = {worker.id for worker in present}
        announced = await db.read(workers.announced, DEFAULT_ENVIRONMENT, now - workers.PRESENT_MS)
        return {
            "now": now,
            "pools": await self._inventory.pools(),
            "slots": self._fleet.slots(),
            "local_min": self._local_min,
            "prices": self._prices,
            "waiting": await db.read(queue.lengths),
            "oldest": await db.read(queue.oldest),
            "workers": [(worker, await self._runs_of(worker.id)) for worker in present],
            "paused": [worker for worker in await db.read(workers.paused) if worker.id not in present_ids],
            "fleets": await self._fleet_pools(now),
            "problem": self._fleet.problem(),
            "differing": {worker.id for worker in present if differs_from_most(worker, announced)},
            "failures": catalog.failures if catalog else (),
        }

    async def _fleet_pools(self, now: int) -> dict[str, dict[str, Any]]:
        """The pools that fleets report, by name: their fleet, least and most workers, pending starts, and problem."""
        found = await self._db.read(fleets.find, now - workers.PRESENT_MS)
        return {pool: {"fleet": fleet.name, **report} for fleet in found for pool, report in fleet.pools.items()}

    async def _runs_of(self, worker_id: str) -> list[tuple[Run, float | None]]:
        """The runs of a worker in order of assignment, each with its progress (0 to 1) if that is known."""
        held = await self._db.read(leases.leased_by, worker_id)
        return [(run, self._progress(run)) for run in sorted(held, key=lambda run: run.assigned_at or 0)]

    def _progress(self, run: Run) -> float | None:
        for event in self._hub.newest(run.id):
            if isinstance(event.payload, Progress):
                return event.payload.done
        return None
