"""A warm ComfyUI: one process for many runs, restarted when it dies or must not be used again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from comfyward.comfy.catalog import read_catalog
from comfyward.comfy.client import ComfyClient
from comfyward.comfy.messages import Message
from comfyward.comfy.process import ComfyProcess, ComfySpec
from comfyward.comfy.run_folders import RunFolders
from comfyward.errors import ComfyUICrashed

log = logging.getLogger(__name__)


class WarmComfyUI:
    """Owns the process, its client, and the one websocket on which its messages arrive.

    `messages` are ComfyUI's messages; None means that the websocket broke.
    """

    def __init__(self, spec: ComfySpec, client_id: str) -> None:
        self.spec = spec
        self.folders = RunFolders(spec.base_dir)
        self._catalog: tuple[str, bytes] | None = None
        self._client_id = client_id
        self._process: ComfyProcess | None = None
        self._client: ComfyClient | None = None
        self._listener: asyncio.Task[None] | None = None
        self._suspect = False
        self.messages: asyncio.Queue[Message | None] = asyncio.Queue()

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

    async def ensure(self) -> None:
        """Returns when a ComfyUI answers; starts one if needed. Raises SetupFailed."""
        if not self.is_healthy:
            await self.stop()
            await self._start()

    def distrust(self) -> None:
        """Makes the next `ensure` start a new process: a GPU fault breaks the process in which it happened."""
        self._suspect = True

    def kill(self) -> None:
        """Kills a ComfyUI that does not stop."""
        self._suspect = True
        if self._process is not None:
            self._process.kill()

    def memory_bytes(self) -> int:
        """The memory of ComfyUI and its child processes; 0 if it does not run."""
        return 0 if self._process is None else self._process.memory_bytes()

    def log_tail(self) -> str:
        """The end of ComfyUI's log."""
        return "" if self._process is None else self._process.log_since(0)

    async def catalog(self) -> tuple[str, bytes]:
        """The catalog, read once: later the folders that it lists hold files of runs."""
        if self._catalog is None:
            self._catalog = await read_catalog(self.client)
        return self._catalog

    async def stop(self) -> None:
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
        if self._client is not None:
            await self._client.close()
        if self._process is not None:
            await self._process.stop()
        self._process = self._client = self._listener = None

    async def _start(self) -> None:
        self._suspect = False
        self._process = ComfyProcess(self.spec)
        await self._process.start()
        await asyncio.to_thread(self.folders.take_baseline)
        self._client = ComfyClient(self._process.socket, self._client_id)
        self.messages = asyncio.Queue()
        connected = asyncio.Event()
        self._listener = asyncio.create_task(self._listen(self._client, self.messages, connected), name="comfyui-ws")
        await connected.wait()
        log.info("ComfyUI is ready (pid %s)", self._process.pid, extra={"action": "comfyui_ready"})

    async def _listen(
        self, client: ComfyClient, messages: asyncio.Queue[Message | None], connected: asyncio.Event
    ) -> None:
        try:
            async with _opened(client, connected) as stream:
                async for message in stream:
                    messages.put_nowait(message)
        except ComfyUICrashed as error:
            log.warning("%s", error, extra={"action": "comfyui_websocket_broke"})
        finally:
            connected.set()
            messages.put_nowait(None)


@contextlib.asynccontextmanager
async def _opened(client: ComfyClient, connected: asyncio.Event) -> AsyncIterator[AsyncIterator[Message]]:
    async with client.messages() as stream:
        connected.set()
        yield stream
