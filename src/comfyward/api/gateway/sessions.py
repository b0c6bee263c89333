"""Sessions of workers: hello, catalog, heartbeats, log, goodbye."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from comfyward import __version__
from comfyward.api.auth import Auth
from comfyward.api.body import answer, read_body
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.gateway.calls import Calls, session_of, while_connected
from comfyward.dispatch.catalogs import Catalogs
from comfyward.dispatch.trials import Trials
from comfyward.dispatch.worker_logs import WorkerLogs
from comfyward.dispatch.worker_sessions import WorkerSessions
from comfyward.errors import InvalidRequest, OtherVersion
from comfyward.runs.log import plain
from comfyward.store.db import now_ms
from comfyward.store.tokens import WorkerToken
from comfyward.store.workers import WorkerRow
from comfyward.worker.protocol import (
    OLDEST_PROTOCOL,
    PROTOCOL,
    Goodbye,
    Heartbeat,
    Hello,
    Orders,
    Welcome,
)
from comfyward.workflows.catalog_form import MAX_CATALOG_BYTES

MAX_LOG_BYTES = 4 << 20


class Sessions:
    def __init__(
        self,
        auth: Auth,
        calls: Calls,
        sessions: WorkerSessions,
        catalogs: Catalogs,
        trials: Trials,
        logs: WorkerLogs,
    ) -> None:
        self._auth, self._calls, self._sessions, self._logs = auth, calls, sessions, logs
        self._catalogs, self._trials = catalogs, trials

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
        token = await self._auth.joining_worker(request, hello.worker.pool)
        _check_protocol(hello)
        worker = _row(hello, token, session_of(request))
        await self._sessions.join(worker, token)
        if worker.target:
            await self._trials.joined(worker, token, hello.worker.ready)
        is_known = await self._catalogs.announced(worker, token)
        return answer(Welcome(self._sessions.lease_s, not is_known, PROTOCOL))

    async def put_catalog(self, request: Request) -> Response:
        token = await self._calls.token(request)
        environment, digest = request.path_params["environment"], request.path_params["digest"]
        body = await read_body(request, MAX_CATALOG_BYTES)
        await self._catalogs.put(token, session_of(request), environment, digest, body)
        return Response(status_code=204)

    async def heartbeat(self, request: Request) -> Response:
        """Held open until there is an order."""
        heartbeat = await self._calls.read(request, Heartbeat)
        worker = await self._calls.worker(request, heartbeat.worker_id, heartbeat.incarnation)
        if heartbeat.environments:
            await self._trials.reported(worker.worker_id, await self._calls.token(request), heartbeat.environments)
        orders = await while_connected(request, self._sessions.heartbeat(worker, heartbeat))
        return Response(status_code=204) if orders is None else answer(orders)

    async def put_log(self, request: Request) -> Response:
        worker_id, incarnation = request.path_params["worker_id"], request.path_params["incarnation"]
        await self._calls.worker(request, worker_id, incarnation)
        sent = await read_body(request, MAX_LOG_BYTES)
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


def _row(hello: Hello, token: WorkerToken, session: str) -> WorkerRow:
    """Raises InvalidRequest for names that cannot be shown."""
    worker, now = hello.worker, now_ms()
    for name in (worker.id, worker.incarnation, worker.pool, worker.environment):
        if not name.isprintable() or name != name.strip() or "/" in name:
            raise InvalidRequest(
                "The id, pool and environment of a worker must be printable and without slashes.",
                hint="Start the worker with another --id or --pool.",
            )
    return WorkerRow(
        id=worker.id,
        incarnation=worker.incarnation,
        pool=worker.pool,
        environment=worker.environment,
        device=worker.device,
        host=worker.host,
        sandbox=worker.sandbox,
        versions=worker.versions,
        local=worker.local and token.is_servers_own,
        started_at=now,
        seen_at=now,
        gone_at=None,
        token=token.hash,
        session=session,
        catalog_digest=hello.catalog_digest,
        target=worker.target,
    )
