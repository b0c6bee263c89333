"""The fleets' API (fleet/protocol.py describes the wire)."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.auth import Auth
from comfyward.api.body import answer, read_message
from comfyward.api.endpoint import Endpoint, Models
from comfyward.dispatch.worker_sessions import WorkerSessions
from comfyward.errors import Forbidden
from comfyward.fleet.protocol import FleetOrders, FleetReport, Gone
from comfyward.store import fleets, queue, tokens, workers
from comfyward.store.db import Database, now_ms
from comfyward.store.fleets import FleetRow

MAX_MESSAGE_BYTES = 4 << 20


class Fleets:
    def __init__(self, db: Database, auth: Auth, sessions: WorkerSessions) -> None:
        self._db, self._auth, self._sessions = db, auth, sessions

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint("POST", "/sync", self.sync, "Report a fleet", Models(body=FleetReport, answer=FleetOrders)),
            Endpoint("POST", "/gone", self.gone, "Report a worker's end", Models(body=Gone, status=204)),
        ]

    async def sync(self, request: Request) -> Response:
        token = await self._auth.worker(request)
        if not token.is_for_fleets:
            hint = "Create one with 'comfyward tokens create NAME --fleet'."
            raise Forbidden(f"The token '{token.name}' is for workers, not for fleets.", hint=hint)
        report = await read_message(request, FleetReport, MAX_MESSAGE_BYTES)
        orders, strangers = await self._db.write(_sync, report, now_ms())
        for worker_id in strangers:
            await self._sessions.drain(worker_id)
        return answer(orders)

    async def gone(self, request: Request) -> Response:
        """Sent by the supervisor of a worker's process, with the worker's own token or the fleet's."""
        token = await self._auth.worker(request)
        gone = await read_message(request, Gone, MAX_MESSAGE_BYTES)
        worker = await self._db.lookup(workers.get, gone.worker_id)
        if worker is not None:
            if not token.serves(worker.pool):
                raise Forbidden(f"The token '{token.name}' is not for pool {worker.pool}.")
            await self._sessions.end(worker.id)
        return Response(status_code=204)


def _sync(conn: Connection, report: FleetReport, now: int) -> tuple[FleetOrders, list[str]]:
    """(the answer to the fleet, workers that are named as its own but that it does not know)."""
    fleets.put(
        conn, FleetRow(report.name, {pool: msgspec.to_builtins(each) for pool, each in report.pools.items()}, now)
    )
    for pool, each in report.pools.items():
        tokens.ensure(conn, each.token_hash, f"fleet {report.name} {pool}", pool, now)
    present = [
        worker for worker in workers.find(conn, now - workers.PRESENT_MS) if worker.id.startswith(f"{report.name}-")
    ]
    known, (_, busy) = set(report.workers), queue.leases(conn)
    paused = [worker.id for worker in workers.paused(conn)]
    strangers = [worker.id for worker in present if worker.id not in known and worker.drain_at is None]
    return FleetOrders(queue.lengths(conn), [worker.id for worker in present if worker.id in busy], paused), strangers
