"""A worker whose event loop stands still is killed by its host and started anew; one that turns, or starts, is not."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from comfyward.fleet.host import WorkerHost
from comfyward.worker import pulse

WORKER = """
import asyncio, os, sys, time
from pathlib import Path
from comfyward.worker import pulse
pulse.PULSE_S = 0.02
async def work():
    Path(sys.argv[1]).open("a").write("started ")
    beating = asyncio.create_task(pulse.beat(int(os.environ[pulse.VARIABLE])))
    await asyncio.sleep(0.1)
    time.sleep(60)
asyncio.run(work())
"""


class Watched:
    """A host of a worker whose loop stands still after a while. `ended` gets its id each time that it ends."""

    def __init__(self, folder: Path) -> None:
        self.ended: asyncio.Queue[str] = asyncio.Queue()
        self.starts = folder / "starts"
        command = [sys.executable, "-c", WORKER, str(self.starts)]
        self.host = WorkerHost("worker-1", command, {}, folder / "log", self.ended.put)


@pytest.fixture
async def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    monkeypatch.setattr(pulse, "SILENT_S", 1.0)
    made = Watched(tmp_path)
    yield made
    await made.host.stop(0)


async def test_one_that_stands_still_is_replaced(watched: Watched) -> None:
    watched.host.start()

    assert await asyncio.wait_for(watched.ended.get(), 120) == "worker-1"
    assert await asyncio.wait_for(watched.ended.get(), 120) == "worker-1"  # the next one, too

    assert watched.starts.read_text().startswith("started started")


def test_others_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1000.0
    monkeypatch.setattr(pulse, "time", SimpleNamespace(monotonic=lambda: now_s))
    heard, pipe = os.pipe()
    listener = pulse.Listener(heard)

    now_s += 10 * pulse.SILENT_S  # it still starts
    assert not listener.is_silent()
    for _ in range(3):  # its loop turns, however late the beats come
        os.write(pipe, b".")
        assert not listener.is_silent()
        now_s += 10 * pulse.SILENT_S
    assert listener.is_silent()  # and stands

    for each in (heard, pipe):
        os.close(each)
