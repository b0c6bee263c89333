"""Supervises one worker process: spawns it, and restarts it with growing pauses when it ends.

A worker whose event loop stands still (its pulse has stopped) is killed, and so replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import signal
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from comfyward.ids import new_secret
from comfyward.worker import pulse
from comfyward.worker.link import SESSION_VARIABLE
from comfyward.worker.pulse import VARIABLE, Listener, die_with

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.2
MAX_PAUSE_S = 30.0
HEALTHY_AFTER_S = 30.0
LAST_LINES = 20  # of what a process has written, told when it has ended


class WorkerHost:
    """Keeps `command` running until it is stopped. `on_exit` is awaited each time the process ends.

    `secret` is that of the sessions of its processes, each of which so takes the place of the one before.
    """

    def __init__(
        self,
        worker_id: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        log_path: Path,
        on_exit: Callable[[str], Awaitable[None]],
        *,
        without: tuple[str, ...] = (),
    ) -> None:
        """The worker inherits this process's variables, except those whose names start with one of `without`."""
        self._without = without
        self.worker_id = worker_id
        self._command, self._environment, self._log_path, self._on_exit = command, environment, log_path, on_exit
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self.secret = new_secret()
        self.failures = 0
        self._log_start = 0  # where the log of the newest process begins, in bytes
        self.last_words = ""  # the last lines of the process that ended last

    @property
    def is_running(self) -> bool:
        return self._task is not None and not self._task.done()

    @property
    def pid(self) -> int | None:
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    def start(self) -> None:
        self._stopping = False
        if not self.is_running:
            self._task = asyncio.create_task(self._supervise(), name=f"host-{self.worker_id}")

    async def stop(self, grace_s: float) -> None:
        """Drains the worker with SIGTERM, and kills it after the grace period."""
        self._stopping = True
        task = self._task
        if task is None:
            return
        self._signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await asyncio.shield(task)
        self._signal(signal.SIGKILL)
        if self.pid is None:
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _supervise(self) -> None:
        while not self._stopping:
            started_at = time.monotonic()
            status = await self._run_once()
            self.last_words = self._end_of_log()
            await self._on_exit(self.worker_id)
            if self._stopping:
                return
            self.failures = 0 if time.monotonic() - started_at > HEALTHY_AFTER_S else self.failures + 1
            pause_s = min(MAX_PAUSE_S, FIRST_PAUSE_S * 4 ** max(0, self.failures - 1))
            log.warning(
                "worker %s ended (status %s); restarting it in %.1f s\n%s",
                self.worker_id,
                status,
                pause_s,
                self.last_words,
                extra={"action": "worker_died"},
            )
            await asyncio.sleep(pause_s)

    def _end_of_log(self) -> str:
        """The last lines that the newest process has written."""
        try:
            with self._log_path.open("rb") as file:
                file.seek(self._log_start)
                return b"".join(deque(file, maxlen=LAST_LINES)).decode("utf-8", "replace")
        except FileNotFoundError:
            return ""

    async def _run_once(self) -> int:
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        heard, beaten = os.pipe()
        try:
            process = await self._spawn(beaten)
        finally:
            os.close(beaten)
        watching = asyncio.create_task(self._watch(process, Listener(heard)), name=f"watch-{self.worker_id}")
        try:
            return await process.wait()
        finally:
            watching.cancel()
            os.close(heard)

    async def _watch(self, process: asyncio.subprocess.Process, listener: Listener) -> None:
        """Kills the worker once it is silent."""
        while True:
            await asyncio.sleep(pulse.SILENT_S / 4)
            if listener.is_silent():
                log.error("worker %s stands still; it is replaced", self.worker_id, extra={"action": "worker_silent"})
                process.kill()
                return

    async def _spawn(self, beaten: int) -> asyncio.subprocess.Process:
        with self._log_path.open("ab") as output:
            self._log_start = output.tell()
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                env={
                    **_inherited(self._without),
                    **self._environment,
                    VARIABLE: str(beaten),
                    SESSION_VARIABLE: self.secret,
                },
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=functools.partial(die_with, os.getpid()),
                pass_fds=(beaten,),
            )
        return self._process

    def _signal(self, number: signal.Signals) -> None:
        if self.pid is not None and self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


def _inherited(without: tuple[str, ...]) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(without)}
