"""The pulse of a worker: a byte on a pipe to the process above it, for as long as its event loop turns.

A worker whose loop stands still cannot say so. The process above it, its host or its watcher, replaces it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time

from comfyward.sandbox.inside import kernel

VARIABLE = "COMFYWARD_WORKER_PULSE"  # the pipe's descriptor
PULSE_S = 2.0
SILENT_S = 60.0


async def beat(pipe: int) -> None:
    """Beats until nobody listens."""
    os.set_blocking(pipe, False)
    try:
        while True:
            try:
                os.write(pipe, b".")
            except BlockingIOError:
                pass  # the listener stands still, or this worker stood still for very long
            except BrokenPipeError:
                return
            await asyncio.sleep(PULSE_S)
    finally:
        os.close(pipe)


class Listener:
    """The other end of the pipe."""

    def __init__(self, pipe: int) -> None:
        os.set_blocking(pipe, False)
        self._pipe = pipe
        self._heard_at: float | None = None

    def is_silent(self) -> bool:
        """True once nothing has come for SILENT_S. Before its first beat, a worker may be installing ComfyUI."""
        if self._has_beaten():  # also when it was this process that stood still
            self._heard_at = time.monotonic()
        return self._heard_at is not None and time.monotonic() - self._heard_at > SILENT_S

    def _has_beaten(self) -> bool:
        try:
            return bool(os.read(self._pipe, 1 << 16))
        except BlockingIOError:
            return False


def die_with(parent: int) -> None:
    """Ends this process with its parent: a worker that outlived it would share its GPU with a new worker."""
    if not kernel.die_with(parent, signal.SIGKILL):  # the parent died before the call
        os._exit(1)
