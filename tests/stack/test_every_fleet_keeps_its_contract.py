"""The contract of every fleet: start, list, stop; dead workers are restarted; calls may be repeated."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from comfyward.fleet.devices import Device
from comfyward.fleet.fleet import Fleet, Limits, WorkerState
from comfyward.fleet.local import LocalFleet, LocalWorkers
from comfyward.fleet.pools import FleetConfig, PoolConfig
from comfyward.fleet.protocol import worker_token
from comfyward.ids import hash_secret
from comfyward.store import tokens
from comfyward.store.db import now_ms
from tests.conftest import FakeSettings
from tests.ray_cluster import RayCluster, ray_cluster
from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save
from tests.stack.stack import END_TIMEOUT_S, Stack, pids

pytestmark = pytest.mark.xdist_group("ray")
POOL = "CPU"

Made = tuple[Stack, Fleet]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with ray_cluster() as running:
        running.add("T4")
        yield running


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once(fleet="none", accelerators=POOL, lease_s="4")


@pytest.fixture(params=["local", "ray"])
async def made(
    request: pytest.FixtureRequest, stack: Stack, fake_settings: FakeSettings, tmp_path: Path
) -> AsyncIterator[Made]:
    """A server, and a fleet that has no worker yet."""
    environment = {f"COMFYWARD_{name.upper()}": value for name, value in fake_settings().items()}
    environment["COMFYWARD_DATA_DIR"] = str(tmp_path / "workers")
    fleet = _local(stack, environment, tmp_path) if request.param == "local" else _ray(request, stack, environment)
    yield stack, fleet
    for state in await fleet.list():
        await fleet.stop(state.worker_id, 5)
    await _until(lambda: _is_empty(fleet))
    await fleet.close(5)


def _local(stack: Stack, environment: dict[str, str], folder: Path) -> Fleet:
    token = stack.cli("tokens", "create", "local").strip()
    how = LocalWorkers("local-", stack.url, token, environment, folder / "logs")

    async def ended(worker_id: str) -> None:
        return

    return LocalFleet([Device(POOL, "cpu", (), ())], how, Limits(1), lambda worker_id: False, ended, asyncio.Event())


def _ray(request: pytest.FixtureRequest, stack: Stack, environment: dict[str, str]) -> Fleet:
    from comfyward.fleet.ray import RayFleet

    cluster: RayCluster = request.getfixturevalue("cluster")
    pool = PoolConfig(POOL, None, Limits(1), gpus=0)
    stack.write(tokens.ensure, hash_secret(worker_token("secret", POOL)), "fleet", POOL, now_ms())
    fleet = RayFleet(FleetConfig("contract", {POOL: pool}, environment), stack.url, "secret", grace_s=5)
    fleet.connect(cluster.address)
    return fleet


async def test_a_worker_is_started_listed_and_stopped(made: Made) -> None:
    stack, fleet = made
    assert await fleet.list() == []
    assert fleet.limits()[POOL].max == 1

    await fleet.start(POOL)
    [state] = await _until(lambda: _running(fleet))

    assert (state.pool, state.phase, state.problem) == (POOL, "running", None)
    run = await asyncio.to_thread(stack.client().run, fake_save("by this fleet"), accelerator=POOL)
    assert run["status"] == "COMPLETED"
    await fleet.stop(state.worker_id, 5)
    await fleet.stop(state.worker_id, 5)
    await _until(lambda: _is_empty(fleet))
    assert _processes(stack) == []


async def test_a_worker_that_dies_comes_back(made: Made) -> None:
    stack, fleet = made
    await fleet.start(POOL)
    await _until(lambda: _running(fleet))
    client = stack.client()
    await asyncio.to_thread(client.run, fake_save("first"), accelerator=POOL)
    [before] = _processes(stack)

    os.kill(before, signal.SIGKILL)

    run = await asyncio.to_thread(client.run, fake_save("second"), accelerator=POOL)
    assert run["status"] == "COMPLETED"
    assert _processes(stack) != [before]
    assert len(await fleet.list()) == 1


async def test_stopping_an_unknown_worker_is_a_no_op(made: Made) -> None:
    _, fleet = made

    await fleet.stop("nobody", 1)

    assert await fleet.list() == []


async def _running(fleet: Fleet) -> list[WorkerState]:
    return [state for state in await fleet.list() if state.phase == "running"]


async def _is_empty(fleet: Fleet) -> bool:
    return not await fleet.list()


async def _until(look: Callable[[], Awaitable[Any]]) -> Any:
    deadline = time.monotonic() + END_TIMEOUT_S
    while time.monotonic() < deadline:
        if found := await look():
            return found
        await asyncio.sleep(0.2)  # another process's state: there is nothing to wait on
    raise AssertionError("it did not come")


def _processes(stack: Stack) -> list[int]:
    return pids(rf"comfyward worker --server {re.escape(stack.url)}")
