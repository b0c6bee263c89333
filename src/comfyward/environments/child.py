"""Processes at low priority for work on environments: those who start them, a worker or a server, go on beside them.

A process reads an order from its standard input, and writes a line of JSON to its standard output for each step; the
last line is how it ended. It ends with whoever started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, TypeVar

import msgspec

from comfyward.environments import git
from comfyward.environments.fetching import Fetching
from comfyward.environments.registry import ComfyRegistry
from comfyward.environments.workshop import Workshop
from comfyward.errors import SetupFailed
from comfyward.sandbox.inside import kernel

LONGEST_LINE = 64 << 20  # of a lock
LAST_LINES = 2000  # characters of what a process said that ended without a word
GRACE_S = 3.0
NICE = 10  # a tenth of what a busy processor gives to others: the work is slow then, but it ends


class Step(msgspec.Struct, frozen=True, tag="step"):
    """The step that is being done now, and how much of it is done (None: unknown)."""

    step: str
    part: float | None


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """The task of a process below the folder `root`, with a registry; `parent` is the one that started it."""

    root: str
    registry_url: str
    fetching: Fetching
    parent: int

    def workshop(self) -> Workshop:
        """The workshop in which it is done."""
        registry = ComfyRegistry(self.registry_url, self.fetching.guard)
        return Workshop.below(Path(self.root), registry, self.fetching)


Tell = Callable[[Step], None]
Ordered = TypeVar("Ordered", bound=Order)
T = TypeVar("T")
Read = Callable[[bytes], Step | T]
"""Reads a line."""


def read_order(kind: type[Ordered]) -> Ordered | None:
    """In the process: its order. None if the one that started it has ended."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=kind)
    if not kernel.die_with(order.parent, signal.SIGKILL):
        return None
    os.nice(NICE)
    signal.signal(signal.SIGTERM, _end_with_what_git_does)
    return order


def _end_with_what_git_does(*_: object) -> None:
    git.end_all()  # its own processes, of which the kernel knows nothing, would go on for a minute
    sys.exit(1)


def say(said: msgspec.Struct) -> None:
    """In the process: writes a line."""
    sys.stdout.buffer.write(msgspec.json.encode(said) + b"\n")
    sys.stdout.buffer.flush()


async def follow(module: str, order: Order, read: Read[T], tell: Tell) -> T:
    """Runs a module to its end, or to its death if this is cancelled. Returns what it says last; steps are told.

    Raises SetupFailed if it ends without a word.
    """
    with tempfile.TemporaryFile() as errors:
        process = await _started(module, errors)
        try:
            last = await _last(process, order, read, tell)
        finally:
            await _end(process)
        if last is None:
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip()[-LAST_LINES:]
            raise SetupFailed(f"The builder ended without a word (status {process.returncode}).", hint=said or None)
        return last


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ends a process, which may first end what it has started itself."""
    try:
        if process.returncode is None:
            process.terminate()
            async with asyncio.timeout(GRACE_S):
                await process.wait()
    except (ProcessLookupError, TimeoutError):
        pass
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


async def _started(module: str, errors: IO[bytes]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module),
        cwd="/",
        env={name: value for name, value in os.environ.items() if not name.startswith("COMFYWARD_")},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=errors,
        start_new_session=True,
        limit=LONGEST_LINE,
    )


async def _last(process: asyncio.subprocess.Process, order: Order, read: Read[T], tell: Tell) -> T | None:
    """The last thing that a process says, unless it is a step."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(ConnectionError):
        process.stdin.write(msgspec.json.encode(order))
        await process.stdin.drain()
        process.stdin.close()
    last: T | None = None
    async for line in process.stdout:
        said = read(line)
        if isinstance(said, Step):
            tell(said)
        else:
            last = said
    return last
