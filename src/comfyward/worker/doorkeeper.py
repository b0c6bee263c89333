"""The doorkeeper of a ComfyUI: a proxy in a process of its own, and a record of what passed through it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from comfyward.comfy.egress import Egress
from comfyward.environments import egress_proxy
from comfyward.environments.egress_proxy import NotPassed, Order, Passed, read

log = logging.getLogger(__name__)

MOST_HOSTS = 500  # that are told apart
LONGEST_LINE = 64 << 10


@dataclass(frozen=True)
class Used:
    """The traffic of one host and port: connections, those that were refused, and bytes."""

    connections: int = 0
    refused: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0

    def with_(self, said: Passed | NotPassed) -> Used:
        """The same after one more connection."""
        match said:
            case NotPassed():
                return Used(self.connections, self.refused + 1, self.sent_bytes, self.received_bytes)
            case Passed(sent=sent, received=received):
                sent, received = self.sent_bytes + sent, self.received_bytes + received
                return Used(self.connections + 1, self.refused, sent, received)


class EgressDoorkeeper:
    """Answers at the door of one ComfyUI after another."""

    def __init__(self, egress: Egress) -> None:
        self._egress = egress
        self._process: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None
        self._used: dict[tuple[str, int], Used] = {}

    async def open(self, door: socket.socket, log: Path) -> None:
        await self.close()
        with log.open("ab") as file:
            inherited = (door.fileno(), file.fileno())
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", egress_proxy.__name__),
                cwd="/",
                env={name: value for name, value in os.environ.items() if not name.startswith("COMFYWARD_")},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                pass_fds=inherited,
                start_new_session=True,
                limit=LONGEST_LINE,
            )
        assert self._process.stdin is not None
        order = Order(*inherited, self._egress.hosts, self._egress.allow, os.getpid())
        with contextlib.suppress(ConnectionError):
            self._process.stdin.write(msgspec.json.encode(order))
            await self._process.stdin.drain()
            self._process.stdin.close()
        self._listening = asyncio.create_task(self._listen(self._process), name="egress")

    async def close(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        assert self._listening is not None
        await self._listening

    def taken(self) -> dict[tuple[str, int], Used]:
        """The traffic since this was last asked, by host and port."""
        used, self._used = self._used, {}
        return used

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            said = read(line)
            place = (said.host, said.port)
            if place in self._used or len(self._used) < MOST_HOSTS:
                self._used[place] = self._used.get(place, Used()).with_(said)
        if process is self._process:
            log.warning("the proxy of a ComfyUI has ended by itself", extra={"action": "egress_ended"})
