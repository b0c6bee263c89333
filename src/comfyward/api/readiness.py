"""Tells load balancers whether requests should be sent to this server."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from comfyward.fleet.fleet import OwnFleet
from comfyward.store import catalogs, workers
from comfyward.store.db import Database, now_ms
from comfyward.store.workers import WorkerRow

READY_SEEN_MS = 30_000


@dataclass(frozen=True)
class Ready:
    """`refused_catalogs` counts workers whose catalog was not valid: what they offer is not known."""

    workers: int
    refused_catalogs: int = 0


@dataclass(frozen=True)
class NotReady:
    """`status` is for programs: waiting or stopping."""

    status: str
    message: str


class Readiness:
    """With `needs_worker` the server is ready once a worker is and a catalog of nodes is known, so that graphs can be
    checked; otherwise once the database answers."""

    def __init__(self, db: Database, fleet: OwnFleet, *, needs_worker: bool) -> None:
        self._db, self._fleet, self._needs_worker = db, fleet, needs_worker
        self._is_stopping = False

    def withdraw(self) -> None:
        """The server is about to stop: it is not ready from now on."""
        self._is_stopping = True

    async def check(self) -> Ready | NotReady:
        present, can_check = await self._db.read(_found, now_ms() - READY_SEEN_MS)
        if self._is_stopping:
            return NotReady("stopping", "The server is about to stop.")
        if self._needs_worker and not (present and can_check):
            return NotReady("waiting", self._fleet.problem() or "No worker is ready yet.")
        return Ready(len(present), sum(worker.catalog_problem is not None for worker in present))


def _found(conn: Connection, seen_after: int) -> tuple[list[WorkerRow], bool]:
    """The workers that are there, and whether a catalog came from any worker, or was refused."""
    present = workers.find(conn, seen_after)
    refused = any(worker.catalog_problem is not None for worker in present)
    return present, refused or bool(catalogs.find(conn))
