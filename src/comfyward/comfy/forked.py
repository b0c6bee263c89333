"""A ComfyUI process, as the worker sees it: it is no child of this process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from pathlib import Path


class Forked:
    """A process that a parent forked. Its descriptor stands for no other, whatever becomes of its number.

    `door` is the socket that listens in its network, for whoever is to answer there; None if it has none.
    """

    def __init__(self, pid_descriptor: int, *, has_namespace: bool, door: socket.socket | None = None) -> None:
        self._descriptor = pid_descriptor
        self._has_namespace, self.door = has_namespace, door
        self._ended = asyncio.Event()
        self.pid = _pid_of(pid_descriptor)
        asyncio.get_running_loop().add_reader(pid_descriptor, self._on_end)

    @property
    def is_running(self) -> bool:
        return not self._ended.is_set()

    async def ended(self) -> None:
        """Returns once it and everything that it started has ended."""
        await self._ended.wait()

    def kill(self) -> None:
        """Kills it and everything that it started. Without a process namespace its keeper does that, when told to."""
        if self.is_running:
            self._signal(signal.SIGKILL if self._has_namespace else signal.SIGTERM)

    def kill_keeper(self) -> None:
        """Kills a keeper that does not do its work."""
        if self.is_running:
            self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, number)

    def _on_end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._ended.set()


def _pid_of(descriptor: int) -> int:
    """The number of the process, as this process sees it; -1 if it has ended."""
    for line in Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "Pid":
            return int(value)
    return -1
