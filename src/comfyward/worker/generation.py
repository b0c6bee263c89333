"""A generation: one ComfyUI of an environment with folders of its own, for one account, restarted in place when it
breaks.

What a run leaves (files, patched modules, cached results, history, processes) ends with its generation.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from comfyward.comfy.client import ComfyClient
from comfyward.comfy.copies import Recipe
from comfyward.comfy.inbox import Inbox
from comfyward.comfy.messages import Message
from comfyward.comfy.parents import ComfyParents
from comfyward.comfy.process import ComfyProcess, ComfySpec
from comfyward.comfy.run_folders import RunFolders
from comfyward.errors import ComfyUICrashed, SetupFailed
from comfyward.sandbox.leftovers import set_aside
from comfyward.worker.doorkeeper import EgressDoorkeeper, Used

log = logging.getLogger(__name__)

REMEMBERED_RUNS = 8


class Generation:
    """Owns the process, its client, and the one websocket on which its messages arrive.

    `inbox` has ComfyUI's messages. `account` is None before the first run. What it leaves is moved to `leftovers`.
    """

    def __init__(
        self, environment: str, spec: ComfySpec, parents: ComfyParents, client_id: str, leftovers: Path
    ) -> None:
        self.environment, self.spec, self._parents, self._leftovers = environment, spec, parents, leftovers
        self.account: str | None = None
        self.folders = RunFolders(spec.base_dir, leftovers)
        self._doorkeeper = EgressDoorkeeper(spec.egress)
        self.egress: dict[tuple[str, int], Used] = {}
        """The traffic of its last process that has ended, by host and port."""
        self.inbox = Inbox()
        self._client_id = client_id
        self._process: ComfyProcess | None = None
        self._client: ComfyClient | None = None
        self._listener: asyncio.Task[None] | None = None
        self._suspect = False
        self._loaded: collections.deque[Sequence[str]] = collections.deque(maxlen=REMEMBERED_RUNS)

    @property
    def base(self) -> Path:
        """The folder that holds all its folders."""
        return self.spec.base_dir

    @property
    def copy(self) -> Path:
        """The private copy of ComfyUI's source and packs, in which they may write."""
        return self.process.source

    @property
    def recipe(self) -> Recipe:
        """The originals of the copy."""
        return self.process.recipe

    @property
    def client(self) -> ComfyClient:
        if self._client is None:
            raise ComfyUICrashed("ComfyUI is not running.")
        return self._client

    @property
    def process(self) -> ComfyProcess:
        if self._process is None:
            raise ComfyUICrashed("ComfyUI is not running.")
        return self._process

    @property
    def is_healthy(self) -> bool:
        listening = self._listener is not None and not self._listener.done()
        return self._process is not None and self._process.is_running and listening and not self._suspect

    @property
    def models(self) -> list[str]:
        """The models of its last runs, which it has loaded; none once its process has ended."""
        return sorted({name for models in self._loaded for name in models}) if self.is_healthy else []

    def loaded(self, models: Sequence[str]) -> None:
        """Remembers the models of a run that has just been executed."""
        self._loaded.append(models)

    def may_serve(self, environment: str, account: str) -> bool:
        """True if it is of this environment, and no run of another account was executed in it."""
        return self.environment == environment and self.account in (None, account)

    async def ensure(self) -> None:
        """Returns when its ComfyUI answers; starts it if needed, twice if it ends meanwhile. Raises SetupFailed."""
        if self.is_healthy:
            return
        if self._process is not None and not self._process.is_running and not self._suspect:
            log.warning("ComfyUI has ended by itself", extra={"action": "comfyui_ended"})
        await self.stop()
        try:
            return await self._start()
        except SetupFailed as error:
            if self.process.is_running:
                raise
            log.warning("ComfyUI is started again: %s", error, extra={"action": "comfyui_started_again"})
        await self.stop()
        await self._start()

    def distrust(self) -> None:
        """Makes the next `ensure` start a new process: a GPU fault breaks the process in which it happened."""
        self._suspect = True

    def kill(self) -> None:
        """Kills a ComfyUI that does not stop, or is no longer needed."""
        self._suspect = True
        if self._process is not None:
            self._process.kill()

    def memory_bytes(self) -> int:
        """The memory of ComfyUI and its child processes; 0 if it does not run."""
        return 0 if self._process is None else self._process.memory_bytes()

    def log_tail(self) -> str:
        """The end of ComfyUI's log."""
        return "" if self._process is None else self._process.log_since(0)

    async def stop(self) -> None:
        """Stops the process. Its folders stay."""
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
        if self._client is not None:
            await self._client.close()
        if self._process is not None:
            await self._process.stop()
        self._log_egress()
        self._process = self._client = self._listener = None

    async def end(self) -> None:
        """Kills the process, and moves its folders, with everything that runs left in them, aside."""
        self.kill()
        await self.stop()
        try:
            await asyncio.to_thread(set_aside, self.base, self._leftovers)
        except OSError as error:
            log.warning("%s stays: %s", self.base, error, extra={"action": "leftovers_stay"})

    async def _start(self) -> None:
        self._suspect = False
        self._loaded.clear()
        self.base.mkdir(parents=True, exist_ok=True)
        self._process = ComfyProcess(self.spec, self._parents, self._doorkeeper)
        await self._process.start()
        await asyncio.to_thread(self.folders.take_baseline)
        self._client = ComfyClient(self._process.socket, self._client_id)
        self.inbox = Inbox()
        connected = asyncio.Event()
        self._listener = asyncio.create_task(self._listen(self._client, self.inbox, connected), name="comfyui-ws")
        await connected.wait()
        log.info("ComfyUI is ready (pid %s)", self._process.pid, extra={"action": "comfyui_ready"})

    def _log_egress(self) -> None:
        """Tells which hosts its ComfyUI has reached, and for whom."""
        self.egress = self._doorkeeper.taken()
        for (host, port), used in self.egress.items():
            told = {"account": self.account or "", "environment": self.environment, "host": f"{host}:{port}"}
            log.info(
                "ComfyUI has reached %s:%s: %s connections, %s refused, %s bytes sent, %s received",
                *(host, port, used.connections, used.refused, used.sent_bytes, used.received_bytes),
                extra={"action": "egress", **told, **vars(used)},
            )

    async def _listen(self, client: ComfyClient, inbox: Inbox, connected: asyncio.Event) -> None:
        try:
            async with _opened(client, connected) as stream:
                async for message, size in stream:
                    await inbox.put(message, size)
        except ComfyUICrashed as error:
            log.warning("%s", error, extra={"action": "comfyui_websocket_broke"})
        finally:
            connected.set()
            inbox.break_off()


@contextlib.asynccontextmanager
async def _opened(client: ComfyClient, connected: asyncio.Event) -> AsyncIterator[AsyncIterator[tuple[Message, int]]]:
    async with client.messages() as stream:
        connected.set()
        yield stream
