"""A worker that waits for a run asks anew once the files of another are there: the server gives an account no more runs
while the worker fetches the files of enough of them, and an ask may be held for long."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import msgspec

from comfyward.comfy.run_folders import StagedFile
from comfyward.runs.run import DEFAULT_ENVIRONMENT, EndReason
from comfyward.worker.agent import Agent
from comfyward.worker.ahead import Ahead, Patience
from comfyward.worker.asks import Asks
from comfyward.worker.attempt import Attempt, Failed
from comfyward.worker.attempts import Attempts
from comfyward.worker.gpu import Gpu
from comfyward.worker.pipeline import Pipeline
from comfyward.worker.protocol import Ask, Assignment, Reports, WorkerInfo

NEVER_S = 3600.0


class Server:
    """Has two runs of one account, and holds every later ask."""

    def __init__(self) -> None:
        self.asks: asyncio.Queue[Ask] = asyncio.Queue()
        self.ended: asyncio.Queue[str] = asyncio.Queue()
        self._runs = [assignment(name) for name in ("one", "two")]

    async def ask(self, ask: Ask) -> Assignment:
        self.asks.put_nowait(ask)
        if self._runs:
            return self._runs.pop(0)
        await asyncio.sleep(NEVER_S)
        raise AssertionError

    async def report(self, reports: Reports) -> None:
        self.ended.put_nowait(reports.lease)


class Files:
    """Of each run, there once `there` has been set; nothing is executed."""

    def __init__(self) -> None:
        self.there = {name: asyncio.Event() for name in ("one", "two")}

    async def stage(self, attempt: Attempt) -> list[StagedFile]:
        await self.there[attempt.lease].wait()
        raise Failed(EndReason.DOWNLOAD)

    def unstage(self, attempt: Attempt) -> None:
        return


def assignment(name: str) -> Assignment:
    return Assignment(name, name, 1, msgspec.Raw(b"{}"), msgspec.Raw(b"{}"), [], [], 60, False, account="ann")


async def test_the_next_run_of_an_account_is_asked_for_when_the_files_of_one_are_there() -> None:
    server, files = Server(), Files()
    turn = asyncio.Lock()
    current = SimpleNamespace(models=[], environment=DEFAULT_ENVIRONMENT, process=None)
    comfyui = SimpleNamespace(prepare=lambda *_: None, turn=turn, current=current, account="ann")
    environments = SimpleNamespace(ready=lambda: [], ready_changed=asyncio.Event())
    attempts, models = Attempts(), SimpleNamespace(names=[])
    gpu = Gpu(cast(Any, comfyui), cast(Any, models), cast(Any, environments), attempts, memory_limit_bytes=0)
    info = WorkerInfo("w", "1", "CPU", DEFAULT_ENVIRONMENT, "CPU", "h", "off", {})
    ahead = Ahead(Patience(beside_s=0, slow_s=NEVER_S))
    asks = Asks(info, cast(Any, server), gpu, cast(Any, environments), attempts, ahead)
    collect, places = SimpleNamespace(forget=_nothing), SimpleNamespace(redacted=lambda ended: ended)
    pipeline = Pipeline(cast(Any, files), gpu, cast(Any, collect), cast(Any, places), attempts)
    unused = cast(Any, None)
    agent = Agent(unused, unused, asks, pipeline, cast(Any, environments), attempts)
    asking = asyncio.create_task(agent.ask_for_runs())
    told = [(await server.asks.get()).staging for _ in range(3)]
    assert told == [[], ["ann"], ["ann", "ann"]]

    files.there["one"].set()

    assert (await server.asks.get()).staging == ["ann"]
    files.there["two"].set()
    assert (await server.asks.get()).staging == []
    assert {await server.ended.get(), await server.ended.get()} == {"one", "two"}
    attempts.drain()
    await asking


async def _nothing(_attempt: Attempt) -> None:
    return
