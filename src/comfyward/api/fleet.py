"""The fleets' API (fleet/protocol.py describes the wire)."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.auth import Auth, refuse_foreign_pool
from comfyward.api.body import MessageLimit, answer, read_message
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.gateway.calls import session_of
from comfyward.dispatch.worker_sessions import WorkerSessions
from comfyward.errors import Forbidden
from comfyward.fleet.protocol import FleetOrders, FleetReport, Gone
from comfyward.store import fleets, leases, queue, tokens, workers
from comfyward.store.db import Database, now_ms
from comfyward.store.fleets import FleetRow
from comfyward.store.tokens import WorkerToken
from comfyward.store.workers import WorkerRow

MESSAGES = MessageLimit(4 << 20, 200_000)


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
        report = await read_message(request, FleetReport, MESSAGES)
        for pool in report.pools:
            refuse_foreign_pool(token, pool)
        orders, strangers = await self._db.write(_sync, report, token, now_ms())
        for worker_id in strangers:
            await self._sessions.drain(worker_id)
        return answer(orders)

    async def gone(self, request: Request) -> Response:
        """Sent by the host of a worker's process, with the worker's token and secret, or with the fleet's token."""
        token = await self._auth.worker(request)
        gone = await read_message(request, Gone, MESSAGES)
        worker = await self._db.lookup(workers.get, gone.worker_id)
        if worker is not None:
            if not await self._db.lookup(_may_end, token, session_of(request), worker):
                raise Forbidden(f"Worker '{worker.id}' did not join with the token '{token.name}' and this secret.")
            await self._sessions.end(worker.id)
        return Response(status_code=204)


def _may_end(conn: Connection, token: WorkerToken, session: str, worker: WorkerRow) -> bool:
    """True if a worker joined with a token and this session's secret, or with a token that the token made."""
    if not worker.token:  # it joined before an upgrade
        return token.serves(worker.pool)
    is_its_own = worker.token == token.hash and worker.session in (session, "")
    return is_its_own or (token.is_for_fleets and worker.token in tokens.made_by(conn, token.hash))


def _sync(conn: Connection, report: FleetReport, token: WorkerToken, now: int) -> tuple[FleetOrders, list[str]]:
    """(the answer to the fleet, workers of its tokens and name that it does not know).

    Raises Forbidden for a name that another fleet reports under.
    """
    _store(conn, report, token, now)
    own = tokens.made_by(conn, token.hash)
    named = [worker for worker in workers.find(conn, now - workers.PRESENT_MS) if _is_named(report, worker)]
    present = [worker for worker in named if worker.token in own]
    _, busy = leases.held(conn)
    return (
        FleetOrders(
            {pool: length for pool, length in queue.lengths(conn).items() if pool in report.pools},
            [worker.id for worker in present if worker.id in busy],
            [worker.id for worker in workers.paused(conn) if _is_named(report, worker)],
        ),
        [worker.id for worker in present if worker.id not in set(report.workers) and worker.drain_at is None],
    )


def _store(conn: Connection, report: FleetReport, token: WorkerToken, now: int) -> None:
    """Stores what a fleet reports, and the tokens of its workers. Raises Forbidden."""
    if fleets.is_held_by_another(conn, report.name, token.hash, now - workers.PRESENT_MS):
        hint = "Give this fleet another name in its file, or stop the other one first."
        raise Forbidden(f"The fleet '{report.name}' reports with another token.", hint=hint)
    pools = {pool: msgspec.to_builtins(each) for pool, each in report.pools.items()}
    fleets.put(conn, FleetRow(report.name, pools, now, token.hash))
    for pool, each in report.pools.items():
        name = f"fleet {report.name} {pool}"
        tokens.ensure(conn, each.token_hash, name, pool, now, made_by=token.hash, expires_at=token.expires_at)


def _is_named(report: FleetReport, worker: WorkerRow) -> bool:
    """True if a worker has the name of a fleet's."""
    return worker.id.startswith(f"{report.name}-")
