"""A worker reads what packs bring for the editor from a ComfyUI that may say anything, and may end at any route."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from comfyward.comfy.client import ComfyClient
from comfyward.worker import web_files
from comfyward.worker.web_files import read_web_files


class Fake:
    """A ComfyUI whose answers are given; it ends at /ends, and is there again once it is started."""

    def __init__(self, listing: Any, socket: Path) -> None:
        self.listing, self.socket = listing, socket
        self.starts, self.asked = 0, []
        self.is_distrusted = False
        self.client = ComfyClient(socket, "client")

    async def ensure(self) -> None:
        """Its end has not been noticed yet."""
        self.starts += self.is_distrusted
        self.is_distrusted = False

    def distrust(self) -> None:
        self.is_distrusted = True

    async def answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        self.asked.append(path)
        assert request.transport is not None
        if path == "/comfyward/web":
            return web.json_response(self.listing)
        if path.endswith("/ends"):
            request.transport.close()
        if path.endswith("/moved"):
            raise web.HTTPFound("/a/fine")
        if path.endswith("/never"):
            await asyncio.Event().wait()
        if path.endswith("/endless"):
            answer = web.StreamResponse()
            await answer.prepare(request)
            while True:
                await answer.write(bytes(1 << 20))
        if path.endswith("/refused"):
            return web.Response(status=500)
        return web.Response(text=f"it is {path}", headers={"Content-Type": "text/\udcff plain"})


@pytest.fixture
async def fake(tmp_path: Path) -> AsyncIterator[Fake]:
    made = Fake({}, tmp_path / "socket")
    app = web.Application()
    app.router.add_get("/{path:.*}", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(made.socket)).start()
    yield made
    await made.client.close()
    await runner.cleanup()


async def read(fake: Fake) -> list[str]:
    return [file.path for file in await read_web_files(fake, ["a"])]


async def test_what_does_not_answer_well_is_left_out(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_files, "ANSWER_TIMEOUT_S", 2.0)
    names = ("moved", "never", "endless", "refused", "fine")
    fake.listing = {"files": [["a", "/extensions/a/x.js"]], "routes": [["a", f"/a/{name}"] for name in names]}

    assert await read(fake) == ["/extensions/a/x.js", "/a/fine"]


async def test_only_plain_paths_of_packs_that_are_there_are_asked_for(fake: Fake) -> None:
    odd = [["b", "/b"], ["a", "/../etc"], ["a", "//host/x"], ["a"], "a", ["a", 1], [["a"], "/x"], ["a", "/q?x#y"]]
    fake.listing = {"files": odd, "routes": "none"}

    assert await read(fake) == ["/q?x#y"]
    assert fake.asked == ["/comfyward/web", "/q?x#y"]
    for listing in ([], {}, {"files": {"a": 1}}):
        fake.listing = listing
        assert await read(fake) == []


async def test_a_route_that_ends_comfyui_costs_its_own_answer_alone(fake: Fake) -> None:
    fake.listing = {"routes": [["a", "/a/first"], ["a", "/a/ends"], ["a", "/a/last"]]}

    assert await read(fake) == ["/a/first", "/a/last"]
    assert fake.starts == 1


async def test_there_is_an_end_to_starts_and_sizes(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.listing = {"routes": [["a", "/a/first"], *[["a", f"/{number}/ends"] for number in range(9)], ["a", "/a/last"]]}
    assert await read(fake) == ["/a/first"]
    assert fake.starts == web_files.RESTARTS

    monkeypatch.setattr(web_files, "MAX_BYTES", 2 * web_files.AROUND_BYTES + 30)
    fake.listing = {"files": [["a", f"/a/{name}"] for name in "abc"]}
    assert await read(fake) == ["/a/a", "/a/b"]
    monkeypatch.setattr(web_files, "MAX_FILES", 1)
    assert await read(fake) == ["/a/a"]
