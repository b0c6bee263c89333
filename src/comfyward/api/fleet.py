"""The fleets' side: see fleet/protocol.py for the wire."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from comfyward.api.body import read_message
from comfyward.api.context import Context
from comfyward.errors import Forbidden
from comfyward.fleet.protocol import PREFIX, FleetOrders, FleetReport, Gone
from comfyward.store import fleets, queue, tokens, workers
from comfyward.store.db import now_ms
from comfyward.store.fleets import FleetRow

MAX_MESSAGE_BYTES = 4 << 20


def routes(context: Context) -> Mount:
    async def sync(request: Request) -> Response:
        token = await context.auth.worker(request)
        if not token.is_for_fleets:
            hint = "Create one with 'comfyward tokens create NAME --fleet'."
            raise Forbidden(f"The token '{token.name}' is for workers.", hint=hint)
        report = await read_message(request, FleetReport, MAX_MESSAGE_BYTES)
        orders, strangers = await context.db.write(_sync, report, now_ms())
        for worker_id in strangers:
            await context.sessions.drain(worker_id)
        return Response(msgspec.json.encode(orders), media_type="application/json")

    async def gone(request: Request) -> Response:
        """From whoever supervises a worker's process, with the worker's own token or the fleet's."""
        token = await context.auth.worker(request)
        message = await read_message(request, Gone, MAX_MESSAGE_BYTES)
        worker = await context.db.lookup(workers.get, message.worker_id)
        if worker is not None:
            if not token.serves(worker.pool):
                raise Forbidden(f"The token '{token.name}' is not for pool {worker.pool}.")
            await context.sessions.end(worker.id)
        return Response(status_code=204)

    return Mount(PREFIX, routes=[Route("/sync", sync, methods=["POST"]), Route("/gone", gone, methods=["POST"])])


def _sync(conn: Connection, report: FleetReport, now: int) -> tuple[FleetOrders, list[str]]:
    """(what the fleet wants to know, workers that bear its name and are not its own)."""
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
