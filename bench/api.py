"""Submissions (16 KB graph, durable) and status reads per second of one server on SQLite, from another process.

For comparison, under the same load: a server that only decodes the body, or sends an answer of the same size.
`python bench/api.py [SECONDS]`
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.stack import quantiles, report, started
from tests.stack.graphs import node
from tests.stack.stack import Client

CONNECTIONS = 16
GRAPH_BYTES = 16_000


EMPTY_SERVER = """
import json, socket, sys, uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
async def submit(request):
    json.loads(await request.body())
    return Response(b'{"id": "x"}')
answer = b"x" * int(sys.argv[2])
async def read(request):
    return Response(answer)
app = Starlette(routes=[Route("/submit", submit, methods=["POST"]), Route("/read", read)])
listener = socket.socket(fileno=int(sys.argv[1]))
uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listener])
"""


@contextlib.contextmanager
def empty_server(answer_bytes: int) -> Iterator[str]:
    """The URL of the server for comparison. Its socket listens before it has started, so that no request is refused."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [sys.executable, "-c", EMPTY_SERVER, str(listener.fileno()), str(answer_bytes)]
        with subprocess.Popen(command, pass_fds=[listener.fileno()]) as process:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            process.terminate()


def graph() -> dict[str, Any]:
    """A graph of about 16 KB, with strings as long as those of prompts."""
    text = "a lighthouse at night, " * 10
    count = GRAPH_BYTES // (len(text) + 80)
    nodes = {str(index): node("CLIPTextEncode", clip=["c", 0], text=f"{index} {text}") for index in range(count)}
    return {**nodes, "save": node("SaveImage", images=["x", 0], filename_prefix="x")}


async def load(session: aiohttp.ClientSession, seconds: float, call: Any) -> tuple[float, list[float]]:
    """(calls per second, the seconds of each call) with CONNECTIONS concurrent callers."""
    times: list[float] = []
    ends_at = time.perf_counter() + seconds

    async def caller() -> None:
        while (began := time.perf_counter()) < ends_at:
            await call(session)
            times.append(time.perf_counter() - began)

    await asyncio.gather(*(caller() for _ in range(CONNECTIONS)))
    return len(times) / seconds, times


async def measure(url: str, client: Client, seconds: float) -> None:
    prompt = {"prompt": graph()}
    run_id = client.submit(prompt["prompt"])

    async def submit(session: aiohttp.ClientSession) -> None:
        async with session.post("/api/v1/workflows/default/runs", json=prompt) as answer:
            assert answer.status == 200, await answer.text()

    async def read(session: aiohttp.ClientSession) -> None:
        async with session.get(f"/api/v1/workflows/default/runs/{run_id}") as answer:
            assert answer.status == 200
            await answer.read()

    headers = {"Authorization": client.http.headers["authorization"]}
    async with aiohttp.ClientSession(url, headers=headers) as session:
        submits, submit_times = await load(session, seconds, submit)
        reads, read_times = await load(session, seconds, read)
        async with session.get(f"/api/v1/workflows/default/runs/{run_id}") as answer:
            size = len(await answer.read())
    empty_submits, empty_reads = await reference(prompt, size, seconds)
    figures = {
        "submits_per_s": round(submits),
        "empty_server_submits_per_s": round(empty_submits),
        "submit": quantiles(submit_times),
        "reads_per_s": round(reads),
        "empty_server_reads_per_s": round(empty_reads),
        "read": quantiles(read_times),
        "goal": "submits >= 500/s, reads >= 3000/s on 2 cores (the load generator takes one of them)",
    }
    report("api", figures)


async def reference(prompt: dict[str, Any], answer_bytes: int, seconds: float) -> tuple[float, float]:
    """(submissions, reads) per second of the server for comparison."""

    async def submit(session: aiohttp.ClientSession) -> None:
        async with session.post("/submit", json=prompt) as answer:
            assert answer.status == 200

    async def read(session: aiohttp.ClientSession) -> None:
        async with session.get("/read") as answer:
            await answer.read()

    with empty_server(answer_bytes) as url:
        async with aiohttp.ClientSession(url) as session:
            return (await load(session, seconds, submit))[0], (await load(session, seconds, read))[0]


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    # Without workers, only the API and the database are measured.
    with started(fleet="none", accelerators="CPU") as stack:
        asyncio.run(measure(stack.url, stack.client(), seconds))


if __name__ == "__main__":
    main()
