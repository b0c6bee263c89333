"""A run whose hand-out never reached its worker is not lost and costs no attempt; an earlier life of it gets none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import msgspec
import pytest
from aiohttp import web

from comfyward.worker.link import ServerLink
from comfyward.worker.protocol import PREFIX, Ask
from tests.stack.cluster import Cluster
from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save
from tests.stack.stack import END_TIMEOUT_S, Client, Stack
from tests.stack.waiting import until

pytestmark = pytest.mark.several_servers

SOON_S = 60


@pytest.fixture
def stack(start_fake: StartFake) -> Stack:
    return start_fake(fleet="none", accelerators="L4")


@dataclass(frozen=True)
class Given:
    """A run, and the answer that handed it to the worker `by-hand`."""

    token: str
    client: Client
    run_id: str
    answer: dict[str, Any]


@pytest.fixture
def given(stack: Stack) -> Iterator[Given]:
    token = stack.cli("tokens", "create", "by-hand").strip()
    _hello(stack, token, "life")
    client = stack.client()
    run_id = client.submit(fake_save("once"), accelerator="L4")
    yield Given(token, client, run_id, _ask(stack, token, "life", heard=True).json())
    client.cancel(run_id)


def test_a_run_in_a_lost_response_is_assigned_again(stack: Stack, given: Given) -> None:
    again = _ask(stack, given.token, "life", heard=False).json()

    assert given.answer["run_id"] == again["run_id"] == given.run_id
    assert (given.answer["attempt"], again["attempt"]) == (1, 1)
    assert given.answer["lease"] != again["lease"]


def test_a_received_assignment_is_not_revoked(stack: Stack, given: Given) -> None:
    more = _ask(stack, given.token, "life", heard=True, wait_s=0.1)

    assert (given.answer["run_id"], more.status_code) == (given.run_id, 204)
    assert given.client.get(given.run_id)["status"] == "INIT"


def test_an_earlier_incarnation_of_a_worker_gets_no_runs_from_any_server(cluster: Cluster) -> None:
    token = cluster.servers[0].cli("tokens", "create", "two lives").strip()
    one, other = cluster.servers
    _hello(one, token, "first")
    assert _ask(one, token, "first", heard=True, wait_s=0).status_code == 204

    _hello(other, token, "second")

    answer = until(lambda each: each.status_code != 204, lambda: _ask(one, token, "first", heard=True, wait_s=0))
    assert (answer.status_code, answer.json()["code"]) == (409, "stale_lease")
    assert _ask(one, token, "second", heard=True, wait_s=0).status_code == 204


@pytest.fixture
async def asked() -> AsyncIterator[tuple[str, list[bool]]]:
    """A server that cuts the second of three calls off, and what each said of the answer before it."""
    heard: list[bool] = []

    async def lease(request: web.Request) -> web.Response:
        heard.append(msgspec.json.decode(await request.read(), type=Ask).heard)
        if len(heard) == 2:
            assert request.transport is not None
            request.transport.close()
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post(f"{PREFIX}/lease", lease)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", heard
    await runner.cleanup()


async def test_a_worker_reports_whether_it_received_the_last_response(asked: tuple[str, list[bool]]) -> None:
    url, heard = asked
    link = ServerLink(url, "token")
    ask = Ask("w", "life", True, [], [], 1.0)

    async with asyncio.timeout(END_TIMEOUT_S):
        for _ in range(3):
            await link.ask(ask)
    await link.close()

    assert heard == [False, True, False, True]  # the second call was cut off, and asked again


def _hello(server: Stack, token: str, life: str) -> None:
    hello = server.worker_hello(token, id="by-hand", incarnation=life, environment="default")
    assert hello.status_code == 200


def _ask(server: Stack, token: str, life: str, *, heard: bool, wait_s: float = SOON_S) -> httpx2.Response:
    ask = {"worker_id": "by-hand", "incarnation": life, "idle": True, "warm": [], "holding": []}
    return server.worker_call(token, "lease", {**ask, "wait_s": wait_s, "heard": heard})
