"""A worker that was started by hand is watched: it is replaced if it stands still; else its watcher ends as it does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

STARTED = """
import asyncio, os, signal, sys, time
from pathlib import Path
from comfyward.worker import pulse
from comfyward.worker.watcher import watched
how, starts = sys.argv[1], Path(sys.argv[2])
pulse.PULSE_S, pulse.SILENT_S = 0.02, float(sys.argv[3])
pipe = watched()

async def work():
    drained = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, drained.set)
    beating = asyncio.create_task(pulse.beat(pipe))
    await asyncio.sleep(0)  # it has beaten
    starts.open("a").write(f"{os.getpid()} ")
    if how == "stands":
        time.sleep(60)
    if how == "fails":
        sys.exit(7)
    await drained.wait()

asyncio.run(work())
"""


class Watched:
    """A watcher, and the workers that it started."""

    def __init__(self, how: str, starts: Path, silent_s: float) -> None:
        self._starts = starts
        self.process = subprocess.Popen([sys.executable, "-c", STARTED, how, str(starts), str(silent_s)])

    def workers(self, number: int) -> list[int]:
        """The ids of the workers, once there were so many."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            found = self._starts.read_text().split(" ")[:-1] if self._starts.exists() else []
            if len(found) >= number:
                return [int(pid) for pid in found]
            time.sleep(0.01)
        raise AssertionError(f"{number} workers were not started")


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Callable[..., Watched]]:
    made: list[Watched] = []

    def watched(how: str, silent_s: float = 600) -> Watched:
        made.append(Watched(how, tmp_path / "starts", silent_s))
        return made[-1]

    yield watched
    for each in made:
        each.process.kill()
        each.process.wait()


def test_one_that_stands_still_is_replaced(watch: Callable[..., Watched]) -> None:
    watched = watch("stands", silent_s=1)
    first, _second, _third = watched.workers(3)[:3]

    assert watched.process.poll() is None
    assert has_ended(first)


def test_one_that_is_stopped_is_replaced(watch: Callable[..., Watched]) -> None:
    watched = watch("turns", silent_s=3)
    [first] = watched.workers(1)
    os.kill(first, signal.SIGSTOP)

    assert watched.workers(2)[0] == first
    watched.process.terminate()
    assert watched.process.wait(120) == 0
    assert all(has_ended(each) for each in watched.workers(2))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_drain_the_worker(watch: Callable[..., Watched], number: signal.Signals) -> None:
    watched = watch("turns")
    [worker] = watched.workers(1)

    watched.process.send_signal(number)

    assert watched.process.wait(120) == 0
    assert watched.workers(1) == [worker]


def test_its_exit_status_is_the_workers(watch: Callable[..., Watched]) -> None:
    assert watch("fails").process.wait(120) == 7


def test_it_ends_by_the_signal_that_ended_the_worker(watch: Callable[..., Watched]) -> None:
    watched = watch("turns")
    [worker] = watched.workers(1)

    os.kill(worker, signal.SIGKILL)

    assert watched.process.wait(120) == -signal.SIGKILL


def test_a_killed_watcher_leaves_no_worker(watch: Callable[..., Watched]) -> None:
    watched = watch("turns")
    [worker] = watched.workers(1)

    watched.process.kill()
    watched.process.wait()

    while not has_ended(worker):
        time.sleep(0.01)


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
