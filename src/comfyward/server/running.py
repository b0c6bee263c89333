"""A server's life: started, drained at the first signal, stopped at the second or when all is done."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import logging
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from comfyward.api.native.frontend import Frontends
from comfyward.errors import SetupFailed
from comfyward.sandbox.temporary import remove_abandoned
from comfyward.server.applications import http_servers
from comfyward.server.construction import Core
from comfyward.server.identity import Identity, first_entry, identity_of
from comfyward.server.listening import HttpServer, Listeners
from comfyward.settings import SERVER_LOCK, Settings
from comfyward.store import workers
from comfyward.store.backends import open_database

log = logging.getLogger(__name__)

COLLECTED_AFTER = 10_000  # new objects; Python's 700 are less than one submission's


@dataclass(frozen=True)
class Started:
    """The facts that the first lines of `serve` print."""

    url: str
    native_url: str | None
    first_key: str | None
    login_url: str | None
    pools: tuple[str, ...]


OnStarted = Callable[[Started], None]


async def serve(settings: Settings, frontends: Frontends, on_started: OnStarted) -> None:
    """Runs a server until SIGTERM or SIGINT, then drains it. Returns when everything has stopped."""
    with _locked(settings.data_dir):
        remove_abandoned()
        db = open_database(settings.derived_database_url(), settings.database_connections)
        try:
            listeners = Listeners(settings)
            identity = await identity_of(db, settings)
            core = Core(settings, db, identity, listeners.url, frontends.templates_folder)
            await core.check()
            server = Server(core, identity, http_servers(core, frontends, listeners))
            entry = await first_entry(db)
            login_url = entry.login_url(settings.public_url or listeners.url)
            on_started(Started(listeners.url, listeners.native_url, entry.key, login_url, core.workforce.local_pools))
            await server.run()
        finally:
            db.close()


class Server:
    """One server process with its loops and, by setting, its local workers."""

    def __init__(self, core: Core, identity: Identity, http_servers: Sequence[HttpServer]) -> None:
        self._core, self._http_servers = core, http_servers
        self._worker_id_prefix = identity.worker_id_prefix
        self._draining: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Returns after a signal, when requests and loops have ended."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._on_signal)
        try:
            await self._start()
            await asyncio.gather(*(server.run_until_stopped() for server in self._http_servers))
        finally:
            await self._stop()

    async def _start(self) -> None:
        core = self._core
        await core.db.notices.listen()
        await core.storage.named_secrets.prepare()
        # Local workers die with their server: what they held is tried again now, not when their leases expire.
        for worker_id in await core.db.read(workers.local_ids, self._worker_id_prefix):
            await core.workforce.sessions.end(worker_id)
        for loop in core.loops:
            loop.start()
        _spare_collector()

    async def _stop(self) -> None:
        for loop in reversed(self._core.loops):
            await loop.stop()
        await self._core.db.notices.close()

    def _on_signal(self) -> None:
        """The first signal drains, the second stops at once."""
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain(), name="drain")
        else:
            for server in self._http_servers:
                server.stop_now()

    async def _drain(self) -> None:
        """Running work is finished while workers can still report it; then streams end and the server stops.

        Before that, for a while, only /readyz says that it is about to stop, so that a load balancer sends no more.
        """
        log.info("draining", extra={"action": "drain"})
        core = self._core
        core.workforce.readiness.withdraw()
        await asyncio.sleep(core.settings.drain_delay_s)
        core.workforce.assigner.stop_assigning()
        core.workforce.sessions.end_heartbeats()
        for loop in core.workforce.fleet_loops:
            await loop.stop()
        await core.workforce.fleet.close(core.settings.shutdown_grace_s)
        core.changes.hub.close()
        for server in reversed(self._http_servers):
            server.stop()


def _spare_collector() -> None:
    """Has the collector of cyclic garbage leave out what a server is made of, and look less often at the rest.

    It took a fifth of the time of a submission (docs/decisions/081).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECTED_AFTER, *gc.get_threshold()[1:])


@contextmanager
def _locked(data_dir: Path) -> Iterator[None]:
    """One server for one data directory: a second would take the first one's workers for its own."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (data_dir / SERVER_LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SetupFailed(
                f"A server is running in {data_dir} already.", hint="Stop it, or choose another --data-dir."
            ) from error
        yield
