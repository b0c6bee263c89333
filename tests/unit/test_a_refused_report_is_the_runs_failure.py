"""A server refuses the results of a run, or fails at them: the worker gives them up, and the run ends."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from comfyward.runs.run import EndReason
from comfyward.worker.link import REFUSALS, ServerLink
from comfyward.worker.protocol import PREFIX, Ended, OutputFile, Produced, Reports
from comfyward.worker.reporter import Reporter, Room


class Server:
    """Answers reports with results by `status`, and takes all others."""

    def __init__(self, status: int) -> None:
        self._status = status
        self.got: list[Reports] = []

    async def report(self, request: web.Request) -> web.Response:
        self.got.append(msgspec.json.decode(await request.read(), type=Reports))
        refused = any(isinstance(report, Produced) for report in self.got[-1].reports)
        body = {"code": "x", "message": "It cannot be stored."}
        return web.json_response(body, status=self._status) if refused else web.json_response({})


async def _made(_: Room) -> Produced:
    return Produced(0, [OutputFile("a.txt", "0" * 64, 1, "text/plain", data=b"x")])


@pytest.mark.parametrize(("status", "tries"), [(400, 1), (413, 1), (500, REFUSALS)])
async def test_the_run_ends_without_its_results(status: int, tries: int) -> None:
    server, stale, application = Server(status), asyncio.Event(), web.Application()
    application.router.add_post(f"{PREFIX}/reports", server.report)
    async with TestServer(application) as running:
        link = ServerLink(str(running.make_url("")), "token")
        reporter = Reporter(link, "lease", stale.set)
        reporter.produced(_made)

        await asyncio.wait_for(stale.wait(), 120)
        await link.close()

    *refused, last = server.got
    assert len(refused) == tries
    [ended] = last.reports
    assert isinstance(ended, Ended)
    assert (ended.reason, ended.outputs) == (EndReason.INTERNAL, [])
    assert ended.failure is not None
    assert "It cannot be stored." in ended.failure.message
