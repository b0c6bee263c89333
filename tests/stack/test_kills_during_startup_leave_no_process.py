"""Servers and workers are killed at any moment of their start; on a GPU host a ComfyUI that is left is a GPU lost."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from comfyward.sandbox import walls
from comfyward.sandbox.inside import landlock
from tests.conftest import FAKE_COMFYUI, ROOT, FakeSettings
from tests.stack.stack import END_TIMEOUT_S, Stack

KILLS = 20  # at each level of the sandbox
TOGETHER = 5
LATEST_KILL_S = 0.8
SERVER_KILLS = 6
LATEST_SERVER_KILL_S = 2.5

START_COMFYUI = """
import asyncio, sys
from pathlib import Path
from comfyward.sandbox import walls
from comfyward.comfy.install import existing
from comfyward.comfy.parents import ComfyParents
from comfyward.comfy.process import ComfyProcess, ComfySpec

base, source, level = Path(sys.argv[1]), Path(sys.argv[2]), walls.Level(sys.argv[3])
installation = existing(source, Path(sys.executable))

async def main():
    spec = ComfySpec(installation, base, level, False, ("--cpu",), (), (), ())
    process = ComfyProcess(spec, ComfyParents(base.parent))
    print("starting", flush=True)
    await process.start()
    print(process.pid, flush=True)
    await process.exited()

asyncio.run(main())
"""


@pytest.mark.parametrize("level", list(walls.Level))
def test_comfyui_ends_with_a_worker_that_is_killed_while_it_starts(level: walls.Level, tmp_path: Path) -> None:
    _skip_without(level)
    moments = random.Random(7)

    def start_and_kill(number: int) -> None:
        base = tmp_path / str(number)
        base.mkdir()
        command = [sys.executable, "-c", START_COMFYUI, str(base), str(FAKE_COMFYUI), level]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT.parent) as worker:
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"starting\n"
            time.sleep(moments.random() * LATEST_KILL_S)  # the moment of the kill is what is tried
            worker.kill()

    with ThreadPoolExecutor(TOGETHER) as pool:
        list(pool.map(start_and_kill, range(KILLS)))
    assert left_of(tmp_path) == []


@pytest.mark.parametrize("level", list(walls.Level))
def test_comfyui_ends_when_all_that_would_end_it_are_killed(level: walls.Level, tmp_path: Path) -> None:
    _skip_without(level)
    base = tmp_path / "0"
    base.mkdir()
    command = [sys.executable, "-c", START_COMFYUI, str(base), str(FAKE_COMFYUI), level]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT.parent) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"starting\n"
        first = int(worker.stdout.readline())
        parent = int(Path(f"/proc/{first}/stat").read_text().rpartition(")")[2].split()[1])
        for pid in (first, parent, worker.pid):
            with contextlib.suppress(ProcessLookupError):  # it ended with one that was killed before
                os.kill(pid, signal.SIGKILL)

    assert left_of(tmp_path) == []


def test_workers_and_comfyui_end_with_a_server_that_is_killed_while_they_start(
    tmp_path: Path, fake_settings: FakeSettings
) -> None:
    moments = random.Random(11)
    stack = Stack(tmp_path / "server", fake_settings(), program=("-m", "comfyward"))
    for _ in range(SERVER_KILLS):
        stack.start()
        time.sleep(moments.random() * LATEST_SERVER_KILL_S)
        stack.kill()
        stack.process = None

    assert left_of(tmp_path) == []


def _skip_without(level: walls.Level) -> None:
    if level is walls.Level.BUBBLEWRAP and not walls.bubblewrap_works():
        pytest.skip("this host allows no bubblewrap (not installed, or no user namespaces)")
    if level is walls.Level.LANDLOCK and landlock.abi() < 1:
        pytest.skip("this kernel has no Landlock")


def left_of(folder: Path) -> list[str]:
    """The command lines of processes that name a folder, once no more of them end."""
    deadline = time.monotonic() + END_TIMEOUT_S
    while (left := _naming(folder)) and time.monotonic() < deadline:
        time.sleep(0.01)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return list(left.values())


def _naming(folder: Path) -> dict[int, str]:
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue  # it ended meanwhile
        if str(folder) in line and int(path.parent.name) != os.getpid():
            found[int(path.parent.name)] = line
    return found
