"""Orders for workers: what their heartbeats are answered with."""

from __future__ import annotations

from dataclasses import dataclass

from comfyward.dispatch.model_pins import PinnedModels
from comfyward.dispatch.revisions import Revisions
from comfyward.dispatch.worker_logs import WorkerLogs
from comfyward.store import trials, workers
from comfyward.store.db import Database
from comfyward.store.workers import Holder
from comfyward.worker.protocol import Orders


@dataclass(frozen=True)
class WorkerRef:
    """The worker that makes a call, from its row."""

    worker_id: str
    pool: str
    environment: str
    device: str
    holder: Holder
    target: str = ""


class WorkerOrders:
    """Reads the orders for a worker from rows, and from what this server has asked for."""

    def __init__(self, db: Database, logs: WorkerLogs, revisions: Revisions, pinned: PinnedModels) -> None:
        self._db, self._logs, self._revisions, self._pinned = db, logs, revisions, pinned

    async def of(self, ref: WorkerRef, lost: list[str]) -> Orders:
        """The orders for a worker; `lost` are leases that it does not hold any more."""
        cancelled, recalled, drain = await self._db.lookup(workers.orders_for, ref.worker_id)
        wanted = await self._wanted(ref) if ref.target else []
        learn = (await self._revisions.look()).to_learn(ref.target) if ref.target else []
        is_wanted = self._logs.is_wanted(ref.worker_id)
        models = await self._pinned.of(ref.worker_id)
        return Orders(lost, cancelled, drain, is_wanted, wanted, learn, models, recalled)

    async def _wanted(self, ref: WorkerRef) -> list[str]:
        """The environments that are asked of a worker. What it has just said to another server counts too."""
        wanted = (await self._revisions.look()).wanted(ref.worker_id, ref.pool, ref.target)
        done = await self._db.lookup(trials.done_by, ref.worker_id) if wanted else ()
        return [digest for digest in wanted if digest not in done]

    def discard(self, worker_id: str) -> None:
        """Forgets what was asked of a worker that has ended."""
        self._logs.discard(worker_id)
