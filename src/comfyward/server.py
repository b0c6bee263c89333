"""The composition root: settings become a store, objects, loops, a fleet and an application, started and drained."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

from comfyward.api.app import create_app
from comfyward.api.auth import Auth
from comfyward.api.context import Context
from comfyward.api.cors import Cors
from comfyward.api.native.app import native_app
from comfyward.api.native.frontend import Frontends
from comfyward.api.shapes import Shapes
from comfyward.delivery.hub import Hub
from comfyward.delivery.relay import Relay
from comfyward.delivery.telemetry import Telemetry
from comfyward.delivery.traces import tracer_to
from comfyward.delivery.webhooks import Webhooks, WebhooksDue
from comfyward.dispatch.blobs import Blobs
from comfyward.dispatch.imports import Imports
from comfyward.dispatch.intake import Intake, RunLimits
from comfyward.dispatch.inventory import Inventory
from comfyward.dispatch.leases import Leases
from comfyward.dispatch.maintenance import Deadlines, Rescue, Retention
from comfyward.dispatch.mirrors import Mirrors
from comfyward.dispatch.placement import Rules
from comfyward.dispatch.publisher import Publisher
from comfyward.dispatch.recorder import Recorder
from comfyward.dispatch.secrets import Secrets
from comfyward.dispatch.uploads import Uploads
from comfyward.dispatch.waiting import WaitingWorkers
from comfyward.errors import SetupFailed
from comfyward.files.cache import HostCache
from comfyward.files.fetch import Limits as FetchLimits
from comfyward.files.guard import Guard
from comfyward.files.objects import Objects
from comfyward.fleet.devices import Device, find_devices
from comfyward.fleet.fleet import Limits, Reconcile
from comfyward.fleet.local import LocalFleet, LocalWorkers
from comfyward.ids import new_id
from comfyward.loop import Loop
from comfyward.runs.run import Run
from comfyward.settings import SERVER_LOCK, Settings
from comfyward.store import accounts, sessions, tokens, workers
from comfyward.store.backends import open_database
from comfyward.store.db import now_ms
from comfyward.store.notices import (
    CallersChanged,
    LogUploaded,
    LogWanted,
    Notice,
    RunEvents,
    SecretsGone,
    SecretsKept,
    ServerJoined,
    Subscribed,
    Wake,
    WorkerJoined,
    WorkerSignalled,
)
from comfyward.web.app import website

log = logging.getLogger(__name__)

LOCAL_TOKEN_NAME = "local fleet"  # noqa: S105  a token's name
STREAM_END_S = 2
LOOPBACK = ("127.0.0.1", "localhost", "::1")
WEBSOCKET_LIMIT_BYTES = 1 << 20  # clients of ComfyUI say at most what they understand


@dataclass(frozen=True)
class Started:
    """What the first lines of `serve` tell."""

    url: str
    native_url: str | None
    first_key: str | None
    login_url: str | None
    pools: tuple[str, ...]


OnStarted = Callable[[Started], None]


async def serve(settings: Settings, frontends: Frontends, on_started: OnStarted) -> None:
    """Runs a server until SIGTERM or SIGINT, then drains it. Returns when everything has stopped."""
    server = Server(settings, frontends)
    await server.run(on_started)


class Server:
    """One server process with its loops and, by setting, its local workers."""

    def __init__(self, settings: Settings, frontends: Frontends) -> None:
        self._settings, self._frontends = settings, frontends
        self._lock = _lock_data_dir(settings.data_dir)
        self._db = open_database(settings.derived_database_url(), settings.database_connections)
        self._hub = Hub()
        self._relay = Relay(self._db, self._hub)
        self._secrets = Secrets(self._db.notices)
        self._fleet_hint = asyncio.Event()
        waiting = WaitingWorkers(self._db.notices, self._fleet_hint)
        self._webhooks_due = WebhooksDue(self._db.notices)
        telemetry = Telemetry(tracer_to(settings.otel_endpoint) if settings.otel_endpoint else None)
        self._publisher = Publisher(
            self._relay.on_changes,
            self._secrets.on_changes,
            waiting.on_changes,
            self._webhooks_due.on_changes,
            telemetry.on_changes,
        )
        self._local_prefix = f"local-{_server_id(settings.data_dir)}-" if self._db.is_shared else "local-"
        self._devices = _devices(settings) if settings.fleet == "local" else []
        self._guard = Guard.allowing(settings.fetch_allow)
        self._fleet: LocalFleet | None = None
        direct = settings.objects_direct != "none"
        objects = Objects(settings.derived_objects_url(), settings.objects_endpoint, direct=direct)
        blobs = Blobs(self._db, objects)
        pools = sorted({*settings.accelerators, *(device.pool for device in self._devices)})
        self._inventory = Inventory(
            self._db,
            pools,
            settings.accelerator_aliases,
            settings.default_accelerator,
            stand_in=settings.stand_in if self._devices or settings.stand_in else False,
        )
        self._leases = Leases(
            self._db,
            self._publisher,
            waiting,
            lease_s=settings.lease_s,
            rules=Rules(
                affinity_wait_ms=int(settings.affinity_wait_s * 1000),
                ageing_ms=int(settings.priority_ageing_s * 1000),
                pass_ms=int(settings.affinity_pass_s * 1000),
            ),
            prices=settings.prices,
        )
        self._objects, self._blobs = objects, blobs
        self._uploads = Uploads(self._db, blobs, objects, settings.upload_limit_bytes)
        limits = FetchLimits(settings.fetch_limit_bytes, settings.fetch_timeout_s, settings.fetch_connections)
        cache = HostCache(settings.data_dir.resolve() / "cache", settings.cache_limit_bytes, self._guard, limits)
        self._imports = Imports(self._db, blobs, self._guard, cache)
        single = (
            Rescue(self._db, self._publisher),
            Deadlines(self._db, self._publisher, settings.fallback_after_s),
            Retention(self._db, blobs, self._uploads, settings.retention_days),
            self._imports,
        )
        for loop in single:
            loop.leads = self._db.is_leader
        self._loops: list[Loop] = [self._leases, *single]
        if self._db.is_shared:
            self._loops.append(self._relay)
        self._is_draining = False
        self._reconcile: Reconcile | None = None

    async def run(self, on_started: OnStarted) -> None:
        settings = self._settings
        await self._objects.check()
        await self._check_pools()
        listener = _listen(settings.host, settings.port)
        url = _url_of(settings.host, listener)
        first_key, link = await self._first_entry()
        self._auth = Auth(self._db, await self._db.write(accounts.secret, "links"))
        context = self._context(self._auth, url)
        site = website(context, self._frontends)
        app = create_app(context, self._frontends, site, self._lifespan(url))
        self._servers = [(_uvicorn(app, lifespan=True), listener)]
        native_url = self._add_native_port(context)
        self._watch_signals()
        login_url = f"{(settings.public_url or url).rstrip('/')}/enter/{link}" if link else None
        on_started(Started(url, native_url, first_key, login_url, tuple(device.pool for device in self._devices)))
        try:
            await asyncio.gather(*(server.serve(sockets=[opened]) for server, opened in self._servers))
        finally:
            self._db.close()
            self._lock.close()

    async def _check_pools(self) -> None:
        """Raises SetupFailed for settings that name a pool which nobody serves and none is configured for."""
        settings = self._settings
        known = {*settings.accelerators, *(device.pool for device in self._devices)}
        known |= {pool.name for pool in await self._inventory.pools()} | set(await self._db.read(workers.known_pools))
        named = {"COMFYWARD_LARGER_POOLS": [*settings.larger_pools, *settings.larger_pools.values()]}
        named["COMFYWARD_DEFAULT_ACCELERATOR"] = [settings.default_accelerator] if settings.default_accelerator else []
        for setting, pools in named.items():
            for pool in pools:
                if settings.accelerator_aliases.get(pool, pool) not in known:
                    there = ", ".join(sorted(known)) or "none yet"
                    raise SetupFailed(
                        f"{setting} names pool '{pool}', which no worker serves and none is configured for.",
                        hint=f"Add it to COMFYWARD_ACCELERATORS, or use one that is there: {there}.",
                    )

    def _add_native_port(self, context: Context) -> str | None:
        """ComfyUI's own API at the root of a port. Raises SetupFailed for an open one that others could reach."""
        settings = self._settings
        if settings.native_port is None:
            return None
        if settings.native_open and settings.host not in LOOPBACK:
            raise SetupFailed(
                f"The native port cannot be open without a key on {settings.host}.",
                hint="Listen on 127.0.0.1, or leave out --native-open and let clients send a key.",
            )
        listener = _listen(settings.host, settings.native_port)
        frontends = self._frontends.at_root()
        native = native_app(context, frontends, is_open=settings.native_open)
        root = Starlette(routes=[*frontends.routes(), Mount("/", native)])
        app = Cors(root, settings.cors_origins, paths=None)
        self._servers.append((_uvicorn(app, lifespan=False), listener))
        return _url_of(settings.host, listener)

    def _context(self, auth: Auth, url: str) -> Context:
        settings = self._settings
        recorder = Recorder(self._db, self._blobs, self._publisher)
        intake = Intake(
            self._db,
            self._inventory,
            self._blobs,
            self._guard,
            self._secrets,
            self._publisher,
            tell_worker=self._leases.tell,
            larger_pools=settings.larger_pools,
            limits=RunLimits(
                settings.run_timeout_s, settings.max_run_timeout_s, settings.max_attempts, settings.max_waiting_runs
            ),
        )
        shapes = Shapes(auth, (settings.public_url or url).rstrip("/"))

        def render(run: Run, event: str) -> bytes:
            return shapes.run_json(run)

        webhooks = Webhooks(self._db, self._webhooks_due, self._guard, render, settings.webhook_retry_s)
        webhooks.leads = self._db.is_leader  # one server for all, so that a run's webhooks come in order
        self._loops.append(webhooks)
        return Context(
            settings=settings,
            db=self._db,
            auth=auth,
            intake=intake,
            inventory=self._inventory,
            leases=self._leases,
            recorder=recorder,
            blobs=self._blobs,
            objects=self._objects,
            hub=self._hub,
            secrets=self._secrets,
            imports=self._imports,
            uploads=self._uploads,
            mirrors=Mirrors(self._db, self._blobs, settings.mirrors_models),
            webhooks=webhooks,
            fleet_changed=self._fleet_hint.set,
            fleet_slots=lambda: Counter(device.pool for device in self._devices),
            fleet_problem=lambda: self._fleet.problem() if self._fleet else None,
            is_draining=lambda: self._is_draining,
        )

    def _lifespan(self, url: str) -> Callable[[Starlette], contextlib.AbstractAsyncContextManager[None]]:
        @contextlib.asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[None]:
            await self._db.notices.listen(self._hear, self._look_everywhere)
            await self._forget_former_life()
            if self._settings.fleet == "local":
                await self._start_fleet(url)
            for loop in self._loops:
                loop.start()
            yield
            for loop in reversed(self._loops):
                await loop.stop()
            await self._db.notices.close()

        return lifespan

    def _hear(self, notice: Notice) -> None:
        """What another server tells."""
        match notice:
            case Wake(name):
                for loop in self._loops:
                    if loop.name == name:
                        loop.wake()
            case WorkerSignalled(worker_id):
                self._leases.answer_heartbeat(worker_id)
            case WorkerJoined(worker_id):
                self._leases.forget_asker(worker_id)
            case LogWanted(worker_id):
                self._leases.want_log(worker_id)
            case LogUploaded(worker_id, text):
                self._leases.log_came(worker_id, text)
            case SecretsKept(run_id, secrets):
                self._secrets.remember(run_id, secrets)
            case SecretsGone(run_id):
                self._secrets.discard(run_id)
            case CallersChanged():
                self._auth.forget_here()
            case RunEvents() | Subscribed() | ServerJoined():
                self._relay.hear(notice)

    def _look_everywhere(self) -> None:
        """Notices may have been lost: every loop looks at its rows, and what is remembered is looked up again."""
        self._leases.forget_asker()
        for loop in self._loops:
            loop.wake()

    async def _start_fleet(self, url: str) -> None:
        settings = self._settings
        name = f"{LOCAL_TOKEN_NAME} {self._local_prefix}"
        await self._db.write(tokens.revoke, name, now_ms())
        token = await self._db.write(tokens.create, name, now_ms())
        how = LocalWorkers(url, token, settings.as_environment(), settings.data_dir / "logs")
        keep = Limits(len(self._devices), settings.local_min_workers, settings.local_idle_timeout_s)
        busy, exited = self._leases.is_busy, self._leases.worker_gone
        self._fleet = LocalFleet(self._local_prefix, self._devices, how, keep, busy, exited)
        self._reconcile = Reconcile(self._db, self._fleet, settings.shutdown_grace_s, self._fleet_hint)
        self._loops.append(self._reconcile)

    async def _forget_former_life(self) -> None:
        """Local workers die with their server: what they held is tried again now, not when their leases expire."""
        for worker_id in await self._db.read(workers.local_ids, self._local_prefix):
            await self._leases.worker_gone(worker_id)

    async def _first_entry(self) -> tuple[str | None, str | None]:
        """On the first start: the admin's key and one-time link, to be shown this once."""
        admin, is_new = await self._db.write(accounts.ensure_admin, now_ms())
        if not is_new:
            return None, None
        key = await self._db.write(accounts.create_key, admin.id, "first key", now_ms())
        return key, await self._db.write(sessions.offer_link, admin.id, now_ms(), sessions.LINK_LASTS_MS)

    def _watch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        self._draining: asyncio.Task[None] | None = None

    def _on_signal(self) -> None:
        """The first signal drains, the second stops at once."""
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain(), name="drain")
        else:
            for server, _ in self._servers:
                server.force_exit = server.should_exit = True

    async def _drain(self) -> None:
        """Running work is finished while workers can still report it; then streams end and the server stops.

        Before that, for a while, only /readyz says that it is about to stop, so that a load balancer sends no more.
        """
        log.info("draining", extra={"action": "drain"})
        self._is_draining = True
        await asyncio.sleep(self._settings.drain_delay_s)
        self._leases.stop_handing_out()
        if self._reconcile is not None:
            await self._reconcile.stop()
        if self._fleet is not None:
            await self._fleet.close(self._settings.shutdown_grace_s)
        self._hub.close()
        for server, _ in reversed(self._servers):
            server.should_exit = True


class _Uvicorn(uvicorn.Server):
    """uvicorn without its own signal handlers: ours drain first."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _uvicorn(app: ASGIApp, *, lifespan: bool) -> _Uvicorn:
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=STREAM_END_S,
        timeout_keep_alive=75,
        server_header=False,
        proxy_headers=False,  # anybody could send them; set COMFYWARD_PUBLIC_URL behind a proxy
        lifespan="on" if lifespan else "off",
        ws="websockets-sansio",
        ws_max_size=WEBSOCKET_LIMIT_BYTES,
    )
    return _Uvicorn(config)


def _devices(settings: Settings) -> list[Device]:
    found = find_devices()
    if not settings.local_accelerators:
        return found
    named = [found[index % len(found)] for index in range(len(settings.local_accelerators))]
    return [
        Device(pool, device.name, device.comfyui_args, device.environment)
        for pool, device in zip(settings.local_accelerators, named, strict=True)
    ]


def _server_id(data_dir: Path) -> str:
    """What tells this server's workers from those of other servers on the same database; the same in each life."""
    path = data_dir / "server.id"
    if not path.exists():
        path.write_text(new_id()[:8])
    return path.read_text()


def _lock_data_dir(data_dir: Path) -> IO[str]:
    """One server for one data directory: a second would take the first one's workers for its own."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = (data_dir / SERVER_LOCK).open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise SetupFailed(
            f"A server is running in {data_dir} already.", hint="Stop it, or choose another --data-dir."
        ) from error
    return lock


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Accepted sockets inherit it; without it small answers wait 40 ms for a delayed acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise SetupFailed(
            f"Cannot listen on {host}:{port}: {error.strerror}.", hint="Choose another --port."
        ) from error
    return listener


def _url_of(host: str, listener: socket.socket) -> str:
    """How a process on this machine reaches the server."""
    port = listener.getsockname()[1]
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{reachable}:{port}"
