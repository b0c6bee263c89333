"""Sessions of workers: hello, catalog, heartbeats, log, goodbye."""

from __future__ import annotations

import blake3
from starlette.requests import Request
from starlette.responses import Response

from comfyward import __version__
from comfyward.api.auth import Auth
from comfyward.api.body import answer, read_body
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.gateway.calls import MAX_MESSAGE_BYTES, Calls, while_connected
from comfyward.dispatch.worker_logs import WorkerLogs
from comfyward.dispatch.worker_sessions import WorkerSessions
from comfyward.errors import InvalidRequest, OtherVersion
from comfyward.runs.log import plain
from comfyward.store import workers
from comfyward.store.db import Database, now_ms
from comfyward.store.workers import WorkerRow
from comfyward.worker.protocol import (
    OLDEST_PROTOCOL,
    PROTOCOL,
    Goodbye,
    Heartbeat,
    Hello,
    Orders,
    Welcome,
    WorkerInfo,
)


class Sessions:
    def __init__(self, db: Database, auth: Auth, calls: Calls, sessions: WorkerSessions, logs: WorkerLogs) -> None:
        self._db, self._auth, self._calls, self._sessions, self._logs = db, auth, calls, sessions, logs

    def endpoints(self) -> list[Endpoint]:
        catalog, log = "/catalog/{environment}/{digest}", "/log/{worker_id}/{incarnation}"
        return [
            Endpoint("POST", "/hello", self.hello, "Begin a session", Models(body=Hello, answer=Welcome)),
            Endpoint("PUT", catalog, self.put_catalog, "Send a catalog", Models(body="application/json", status=204)),
            Endpoint("POST", "/heartbeat", self.heartbeat, "Renew leases", Models(body=Heartbeat, answer=Orders)),
            Endpoint("PUT", log, self.put_log, "Send the end of a log", Models(body="text/plain", status=204)),
            Endpoint("POST", "/goodbye", self.goodbye, "End a session", Models(body=Goodbye, status=204)),
        ]

    async def hello(self, request: Request) -> Response:
        hello = await self._calls.read(request, Hello)
        worker = hello.worker
        await self._auth.joining_worker(request, worker.pool)
        _check_protocol(hello)
        replaced = await self._db.write(workers.register, _row(worker))
        if replaced is not None:
            await self._sessions.end(worker.id)
            await self._db.write(workers.register, _row(worker))
        self._sessions.registered(worker.id)
        known_digest = await self._db.lookup(workers.catalog_digest, worker.environment)
        return answer(Welcome(self._sessions.lease_s, known_digest != hello.catalog_digest, PROTOCOL))

    async def put_catalog(self, request: Request) -> Response:
        await self._calls.token(request)
        environment, digest = request.path_params["environment"], request.path_params["digest"]
        body = await read_body(request, MAX_MESSAGE_BYTES)
        if blake3.blake3(body).hexdigest() != digest:
            raise InvalidRequest("The catalog does not match the digest in the path.")
        await self._db.write(workers.put_catalog, environment, digest, body.decode(), now_ms())
        return Response(status_code=204)

    async def heartbeat(self, request: Request) -> Response:
        """Held open until there is an order."""
        heartbeat = await self._calls.read(request, Heartbeat)
        worker = await self._calls.worker(request, heartbeat.worker_id, heartbeat.incarnation)
        orders = await while_connected(request, self._sessions.heartbeat(worker, heartbeat))
        return Response(status_code=204) if orders is None else answer(orders)

    async def put_log(self, request: Request) -> Response:
        worker_id, incarnation = request.path_params["worker_id"], request.path_params["incarnation"]
        await self._calls.worker(request, worker_id, incarnation)
        sent = await read_body(request, MAX_MESSAGE_BYTES)
        self._logs.uploaded(worker_id, plain(sent.decode("utf-8", "replace")))
        return Response(status_code=204)

    async def goodbye(self, request: Request) -> Response:
        goodbye = await self._calls.read(request, Goodbye)
        await self._calls.worker(request, goodbye.worker_id, goodbye.incarnation)
        await self._sessions.end(goodbye.worker_id, said_goodbye=True)
        return Response(status_code=204)


def _check_protocol(hello: Hello) -> None:
    """Raises OtherVersion unless the worker's protocol is the server's or next to it."""
    if OLDEST_PROTOCOL <= hello.protocol <= PROTOCOL + 1:
        return
    version = hello.worker.versions.get("comfyward", "unknown")
    older, newer = ("worker", "server") if hello.protocol < PROTOCOL else ("server", "worker")
    raise OtherVersion(
        f"The worker (comfyward {version}, protocol {hello.protocol}) and the server (comfyward {__version__}, protocol"
        f" {PROTOCOL}) have versions that are too far apart.",
        hint=f"Install the {newer}'s version on the {older}'s host.",
    )


def _row(worker: WorkerInfo) -> WorkerRow:
    now = now_ms()
    return WorkerRow(
        id=worker.id,
        incarnation=worker.incarnation,
        pool=worker.pool,
        environment=worker.environment,
        device=worker.device,
        host=worker.host,
        sandbox=worker.sandbox,
        versions=worker.versions,
        local=worker.local,
        started_at=now,
        seen_at=now,
        gone_at=None,
    )
