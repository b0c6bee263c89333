"""Servers of different versions look for uploads in different places: a worker whose bytes are not found asks again."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from comfyward.errors import InvalidRequest
from comfyward.worker.link import REFUSALS, ServerLink
from comfyward.worker.protocol import PREFIX, OutputOffer

DIGEST, BYTES = "d" * 64, b"a film"
OFFER = OutputOffer("film.mp4", len(BYTES), "s" * 64, asks_again=True)


class Servers:
    """Two servers that take calls in turn, and the store. Each server looks for uploads in a place of its own."""

    def __init__(self, *, finds: bool) -> None:
        self._finds, self.places, self.stored = finds, 0, list[str]()

    async def place(self, request: web.Request) -> web.Response:
        self.places += 1
        return web.json_response({"url": f"{request.url.origin()}/store/{self.places}"})

    async def put(self, request: web.Request) -> web.Response:
        assert await request.read() == BYTES
        self.stored.append(request.path)
        return web.Response()

    async def register(self, _: web.Request) -> web.Response:
        if self._finds and len(self.stored) == 2:
            return web.Response(status=204)
        return web.json_response({"code": "invalid_request", "message": "It is not stored."}, status=400)


@pytest.mark.parametrize(("finds", "places"), [(True, 2), (False, REFUSALS)])
async def test_it_asks_for_a_place_until_the_bytes_are_found(tmp_path: Path, finds: bool, places: int) -> None:
    servers, application, file = Servers(finds=finds), web.Application(), tmp_path / "film.mp4"
    file.write_bytes(BYTES)
    application.router.add_post(f"{PREFIX}/outputs/{DIGEST}", servers.place)
    application.router.add_put("/store/{number}", servers.put)
    application.router.add_post(f"{PREFIX}/outputs/{DIGEST}/stored", servers.register)
    async with TestServer(application) as running:
        link = ServerLink(str(running.make_url("")), "token")
        try:
            if finds:
                await link.put_output("lease", DIGEST, OFFER, file)
            else:
                with pytest.raises(InvalidRequest, match="is not stored"):
                    await link.put_output("lease", DIGEST, OFFER, file)
        finally:
            await link.close()

    assert servers.places == places
    assert servers.stored == [f"/store/{number + 1}" for number in range(places)]
