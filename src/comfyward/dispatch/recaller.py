"""Takes staged runs back from workers that execute others, for idle ones: no GPU is idle while a run is ready.

The row of the run has the recall, and so each heartbeat of its worker brings the order, whichever servers die
meanwhile. The worker gives the run back if it has not started, and so it is never executed twice.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

from sqlalchemy import Connection

from comfyward import metrics
from comfyward.dispatch.placement import Rules, Worker
from comfyward.dispatch.recalls import KEPT_MS, Idle, Recall, recalls
from comfyward.dispatch.waiting import WaitingWorkers
from comfyward.dispatch.worker_signals import WorkerSignals
from comfyward.loop import Loop
from comfyward.store import recalls as rows
from comfyward.store.db import Database, now_ms

log = logging.getLogger(__name__)


class Recaller(Loop):
    """Looks for the workers that wait at this server. It reads one index, and nothing if nobody waits."""

    name = "recalls"
    interval_s = 1.0

    def __init__(self, db: Database, waiting: WaitingWorkers, signals: WorkerSignals, rules: Rules) -> None:
        super().__init__()
        self._db, self._waiting, self._signals, self._rules = db, waiting, signals, rules

    async def tick(self) -> dict[str, int]:
        asking = {worker.id: worker for worker, _ in self._waiting.asking}
        if not asking:
            return {}
        due = await self._db.read(_due, self._waiting.pools, asking, now_ms(), self._rules)
        return {"recalled": sum([await self._recall(recall) for recall in due])}

    async def _recall(self, recall: Recall) -> bool:
        staged = recall.staged
        if not await self._db.write(rows.recall, staged.lease, recall.worker_id, now_ms()):
            return False
        metrics.recalled.labels(staged.run.pool).inc()
        log.info(
            "run %s is recalled from worker %s for the idle %s",
            staged.run.id,
            staged.worker_id,
            recall.worker_id,
            extra={"action": "run_recalled"},
        )
        self._signals.send(staged.worker_id)
        return True


def _due(
    conn: Connection, pools: Collection[str], asking: Mapping[str, Worker], now: int, rules: Rules
) -> list[Recall]:
    staged = rows.staged(conn, pools, start_by=now + KEPT_MS)
    if not staged:
        return []
    hosts = rows.idle(conn, asking, asked_after=now - KEPT_MS)
    return recalls(staged, [Idle(asking[worker_id], host) for worker_id, host in hosts.items()], now, rules)
