"""Ordered environments are built beside the runs, tried as a run would start them, and found by the next worker."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from comfyward.environments.lock import Lock
from comfyward.environments.web_files import WebFile, unpacked
from comfyward.errors import EnvironmentFailed
from comfyward.runs.run import DEFAULT_ENVIRONMENT
from comfyward.worker import deaths, environment_orders, warm
from comfyward.worker.agent import Agent
from comfyward.worker.ahead import Ahead
from comfyward.worker.asks import Asks
from comfyward.worker.attempts import Attempts
from comfyward.worker.deaths import Deaths
from comfyward.worker.environment_reports import EnvironmentState
from comfyward.worker.gpu import Gpu
from comfyward.worker.link import ServerLink
from comfyward.worker.protocol import WorkerInfo
from tests.stack.environment_worker import (
    CIRCUMSTANCES,
    NODES,
    Server,
    quiet,
    serving,
    state_of,
    working,
    workshop,
)

WRITES = """
import os
here = os.path.dirname(os.path.abspath(__file__))
comfyui = os.path.dirname(os.path.dirname(here))
with open(os.path.join(here, "__init__.py"), "a") as own, open(os.path.join(comfyui, "main.py"), "a") as source:
    own.write("# written by itself")
    source.write("# written by a pack")
os.makedirs(os.path.join(comfyui, "models", "faces"))
NODE_CLASS_MAPPINGS = {"Writes": type("Writes", (), {})}
"""
DOES_NOT_IMPORT = "import os\nfrom . import inner\n"
INNER = "VALUE = 1\nraise OSError(30, 'Read-only file system')\n"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a worker that has built the environment `good`."""
    return tmp_path_factory.mktemp("host")


@pytest.fixture(scope="module")
def good(host: Path, tmp_path_factory: pytest.TempPathFactory) -> Lock:
    here = Server(workshop(host / "environments"))
    lock = here.lock(tmp_path_factory.mktemp("sources"), good={"__init__.py": NODES % "Good"})
    here.workshop.builder.build(lock, quiet)
    return lock


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(tmp_path / "server") as served:
        yield served


async def test_what_is_ordered_is_built_tried_and_found_again(server: Server, tmp_path: Path) -> None:
    good = {"__init__.py": NODES % "Good" + "WEB_DIRECTORY = 'js'\n", "js/good.js": "export const good = 1;"}
    lock = server.lock(tmp_path / "sources", good=good, writes={"__init__.py": WRITES})
    async with working(server, tmp_path) as worker:
        own = await worker.comfyui.of(DEFAULT_ENVIRONMENT, "ann")

        report = await worker.carried_out(lock)

        assert report.state is EnvironmentState.READY, report
        assert worker.orders.ready() == [lock.digest]
        assert own.is_healthy
        trial = server.trials[lock.digest]
        assert [(pack.folder, pack.imported, pack.classes, pack.writes) for pack in trial.packs] == [
            ("good", True, ["Good"], []),
            ("writes", True, ["Writes"], ["__init__.py"]),
        ]
        assert (trial.written, trial.writes) == (1, ["main.py"])
        assert trial.size > trial.own_size > 0
        assert trial.picture is not None
        assert "Good" in msgspec.json.decode(server.catalogs[lock.digest])["nodes"]
        brought = [WebFile("/extensions/good/good.js", "good", b"export const good = 1;")]
        assert unpacked(server.web_files[lock.digest]) == brought
        before = state_of(worker.build(lock).path)
    server.catalogs.clear()
    server.trials.clear()
    server.web_files.clear()

    async with working(server, tmp_path) as again:
        assert again.orders.ready() == [lock.digest]
        first = await again.comfyui.of(lock.digest, "ann")
        assert first.is_healthy
        assert (await again.carried_out(lock)).state is EnvironmentState.READY
        assert server.trials[lock.digest] == trial
        assert "Good" in msgspec.json.decode(server.catalogs[lock.digest])["nodes"]
        assert unpacked(server.web_files[lock.digest]) == brought
        assert first.is_healthy
        assert state_of(again.build(lock).path) == before


async def test_a_waiting_worker_asks_anew_once_its_environments_are_others(
    server: Server, host: Path, good: Lock
) -> None:
    server.locks[good.digest] = good
    async with working(server, host) as worker:
        worker.engines.tried.remove(good.digest)
        attempts, models = Attempts(), cast(Any, SimpleNamespace(names=[]))
        info = WorkerInfo("w", "1", "CPU", DEFAULT_ENVIRONMENT, "CPU", "h", "off", {})
        link = ServerLink(server.url, "token")
        asks = Asks(
            info, link, Gpu(worker.comfyui, models, worker.orders, attempts, 0), worker.orders, attempts, Ahead()
        )
        unused = cast(Any, None)  # nothing is ever executed
        agent = Agent(unused, unused, asks, unused, worker.orders, attempts)
        asking = asyncio.create_task(agent.ask_for_runs())
        assert (await server.asks.get()).ready == []

        assert (await worker.carried_out(good)).state is EnvironmentState.READY
        assert (await server.asks.get()).ready == [good.digest]
        worker.orders.lost(good.digest, EnvironmentFailed("It does not start."))
        assert (await server.asks.get()).ready == []

        attempts.drain()
        await asking
        await link.close()


async def test_a_pack_that_does_not_import_fails_the_trial(server: Server, tmp_path: Path) -> None:
    broken = {"__init__.py": DOES_NOT_IMPORT, "inner.py": INNER}
    lock = server.lock(tmp_path / "sources", broken=broken, good={"__init__.py": NODES % "Good"})
    async with working(server, tmp_path) as worker:
        report = await worker.carried_out(lock)

        assert report.state is EnvironmentState.FAILED
        sentence = "broken did not import: OSError: [Errno 30] Read-only file system (broken/inner.py, line 2)"
        assert report.message == sentence
        assert "raise OSError(30, 'Read-only file system')" in report.hint
        trial = server.trials[lock.digest]
        assert (trial.ready, [pack.imported for pack in trial.packs]) == (False, [False, True])
        assert server.catalogs == {}
        assert worker.orders.ready() == []


async def test_a_build_that_hangs_is_ended_and_the_worker_goes_on(server: Server, host: Path, good: Lock) -> None:
    slow = replace(good, packs=())
    server.locks[slow.digest] = slow
    async with working(server, host, build_s=1) as worker:
        with worker.workshop.builds.locked(slow.digest):  # as by a builder that hangs
            for _ in range(2):
                report = await worker.carried_out(slow)
                assert report.state is EnvironmentState.FAILED
                assert report.message == "The build took longer than 1 s, and was ended at the step: Starting."
                assert "COMFYWARD_ENVIRONMENT_BUILD_S" in report.hint
                worker.orders.sent(worker.orders.reports())
    async with working(server, host) as worker:
        assert (await worker.carried_out(slow)).state is EnvironmentState.READY
        worker.workshop.builds.remove(slow.digest)


async def test_an_environment_that_ends_its_workers_is_tried_no_more_until_somebody_asks(
    server: Server, host: Path, good: Lock
) -> None:
    server.locks[good.digest] = good
    async with working(server, host) as worker:
        worker.engines.tried.remove(good.digest)
        for _ in range(deaths.MOST):
            killed = _begin_a_trial(host / "environments" / "trials", good.digest)
            assert killed == -signal.SIGKILL

        report = await worker.carried_out(good)

        assert report.state is EnvironmentState.FAILED
        assert report.message == "Its trial has ended 3 workers of this host, and is not begun again."
        assert good.digest not in server.trials
        worker.orders.sent(worker.orders.reports())
        assert (await worker.carried_out(good)).state is EnvironmentState.READY  # somebody has asked for it again
        assert Deaths(worker.engines.tried).count(good.digest) == 0


def _begin_a_trial(trials: Path, digest: str) -> int:
    """The status of a worker that is killed while it tries an environment."""
    killed = f"""
import os, signal
from pathlib import Path
from types import SimpleNamespace
from comfyward.worker.deaths import Deaths
from comfyward.worker.tried import Tried
with Deaths(Tried(Path({str(trials)!r}), {CIRCUMSTANCES!r})).watched({digest!r}):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    return subprocess.run([sys.executable, "-c", killed], check=False).returncode


async def test_one_worker_has_the_comfyui_of_each_environment_in_turn(server: Server, host: Path, good: Lock) -> None:
    async with working(server, host) as worker:
        other: list[object] = []
        for environment, account in [(DEFAULT_ENVIRONMENT, "ann"), (good.digest, "ann"), (good.digest, "bob")] * 2:
            comfyui = await worker.comfyui.of(environment, account)
            classes = await comfyui.client.object_info()
            assert ("Good" in classes) is (environment == good.digest)
            assert comfyui not in other
            assert await worker.comfyui.of(environment, account) is comfyui
            other.append(comfyui)


async def test_an_environment_that_is_gone_leaves_the_others_working(server: Server, host: Path, good: Lock) -> None:
    server.locks[good.digest] = good
    async with working(server, host) as worker:
        assert (await worker.carried_out(good)).state is EnvironmentState.READY
        worker.orders.sent(worker.orders.reports())
        worker.workshop.builds.remove(good.digest)

        with pytest.raises(EnvironmentFailed, match="is not built on this worker's host") as failed:
            await worker.comfyui.of(good.digest, "ann")
        worker.orders.lost(good.digest, failed.value)

        assert worker.orders.ready() == []
        assert [report.state for report in worker.orders.reports()] == [EnvironmentState.BUILDING]
        assert (await worker.comfyui.of(DEFAULT_ENVIRONMENT, "ann")).is_healthy
        worker.orders.sent(worker.orders.reports())
        assert (await worker.carried_out(good)).state is EnvironmentState.READY  # it is ordered again


async def test_an_environment_that_does_not_start_leaves_the_others_working(
    server: Server, host: Path, good: Lock
) -> None:
    server.locks[good.digest] = good
    async with working(server, host) as worker:
        assert (await worker.carried_out(good)).state is EnvironmentState.READY
        worker.orders.sent(worker.orders.reports())
        (worker.build(good).comfyui / "main.py").write_text("raise SystemExit('no')\n")

        with pytest.raises(EnvironmentFailed, match="ComfyUI ended while starting") as failed:
            await worker.comfyui.of(good.digest, "ann")
        worker.orders.lost(good.digest, failed.value)

        assert worker.orders.ready() == []
        assert [report.state for report in worker.orders.reports()] == [EnvironmentState.FAILED]
        assert (await worker.comfyui.of(DEFAULT_ENVIRONMENT, "ann")).is_healthy
        worker.workshop.builds.remove(good.digest)


async def test_without_memory_for_two_the_trial_waits_for_the_run(
    server: Server, host: Path, good: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm, "available_bytes", lambda: 0)
    server.locks[good.digest] = good
    async with working(server, host) as worker:
        worker.engines.tried.remove(good.digest)
        own = await worker.comfyui.of(DEFAULT_ENVIRONMENT, "ann")
        async with worker.comfyui.turn:
            worker.orders.wanted([good.digest])
            await worker.until(lambda report: report.state is EnvironmentState.TRYING)
            pid = own.process.pid
            assert own.is_healthy
            assert good.digest not in server.trials

        await worker.until(lambda report: report.state is EnvironmentState.READY)
        assert own.process.pid != pid  # it had to make room
        assert own.is_healthy


async def test_only_a_fault_of_the_network_is_tried_again(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment_orders, "FIRST_PAUSE_S", 0.1)
    lock = server.lock(tmp_path / "sources", good={"__init__.py": NODES % "Good"})
    server.refusals = 2
    async with working(server, tmp_path) as worker:
        worker.orders.wanted([lock.digest])
        await worker.until(lambda report: report.step.startswith("Trying again in"))
        await worker.until(lambda report: report.state is EnvironmentState.READY)

        worker.orders.sent(worker.orders.reports())
        worker.workshop.builds.remove(lock.digest)
        worker.engines.tried.remove(lock.digest)
        changed = worker.workshop.trees.path(lock.packs[0].tree)
        (changed / "__init__.py").write_text("")  # so that it is fetched again
        (server.workshop.trees.path(lock.packs[0].tree) / "__init__.py").write_text("import os\n")
        report = await worker.carried_out(lock)

    assert report.state is EnvironmentState.FAILED
    assert "The server sent the files" in report.message
