"""Tells load balancers whether requests should be sent to this server."""

from __future__ import annotations

from dataclasses import dataclass

from comfyward.fleet.fleet import OwnFleet
from comfyward.store import workers
from comfyward.store.db import Database, now_ms

READY_SEEN_MS = 30_000


@dataclass(frozen=True)
class Ready:
    workers: int


@dataclass(frozen=True)
class NotReady:
    """`status` is for programs: waiting or stopping."""

    status: str
    message: str


class Readiness:
    """With `needs_worker` the server is ready once a worker is; otherwise once the database answers."""

    def __init__(self, db: Database, fleet: OwnFleet, *, needs_worker: bool) -> None:
        self._db, self._fleet, self._needs_worker = db, fleet, needs_worker
        self._is_stopping = False

    def withdraw(self) -> None:
        """The server is about to stop: it is not ready from now on."""
        self._is_stopping = True

    async def check(self) -> Ready | NotReady:
        present = await self._db.read(workers.find, now_ms() - READY_SEEN_MS)
        if self._is_stopping:
            return NotReady("stopping", "The server is about to stop.")
        if not present and self._needs_worker:
            return NotReady("waiting", self._fleet.problem() or "No worker is ready yet.")
        return Ready(len(present))
