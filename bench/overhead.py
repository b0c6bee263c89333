"""Latency that comfyward adds to a warm trivial run, from submission to visible result, over ComfyUI used directly.

Runs of all kinds alternate, against one ComfyUI process: ComfyUI itself, and each of comfyward's APIs, waiting as its
clients do (v1: one long request; v2: the event stream; ComfyUI's own: the websocket, then the history).
`python bench/overhead.py [RUNS]`
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.stack import quantiles, report, started
from tests.stack.graphs import picture
from tests.stack.stack import Client, Stack

WARM_UP = 10

Run = Callable[[dict], Awaitable[None]]


def own_api(session: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse, base: str, client_id: str) -> Run:
    """Runs over ComfyUI's own API, of ComfyUI itself or of comfyward."""

    async def run(graph: dict) -> None:
        prompt_id = str(uuid.uuid4())
        body = {"prompt": graph, "prompt_id": prompt_id, "client_id": client_id}
        async with session.post(f"{base}/prompt", json=body) as answer:
            assert answer.status == 200, await answer.text()
        async for message in socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                said = message.json()
                if said["type"] == "executing" and said["data"]["node"] is None:
                    assert said["data"]["prompt_id"] == prompt_id
                    break
        async with session.get(f"{base}/history/{prompt_id}") as answer:
            assert (await answer.json())[prompt_id]["status"]["status_str"] == "success"

    return run


def v1(session: aiohttp.ClientSession) -> Run:
    async def run(graph: dict) -> None:
        async with session.post("/api/v1/workflows/default/runs", json={"prompt": graph}) as answer:
            run_id = (await answer.json())["id"]
        async with session.get(f"/api/v1/workflows/default/runs/{run_id}?wait=30") as answer:
            assert (await answer.json())["status"] == "COMPLETED"

    return run


def v2(session: aiohttp.ClientSession) -> Run:
    async def run(graph: dict) -> None:
        async with session.post("/api/v2/jobs", json={"workflow": graph}) as answer:
            events = (await answer.json())["urls"]["events"]
        names = []
        async with session.get(events) as stream:  # up to its end; it includes the outputs
            async for line in stream.content:
                if line.startswith(b"event: "):
                    names.append(line)
        assert names[-2:] == [b"event: output\n", b"event: status\n"]

    return run


async def measure(stack: Stack, client: Client, runs: int) -> None:
    socket_path = str(max(Path(tempfile.gettempdir()).glob("cw-*/comfyui.sock"), key=os.path.getmtime))
    leftovers = max((stack.data_dir / "workers" / "local-0").glob("comfyui-*"), key=os.path.getmtime) / "output"
    headers = {"Authorization": client.http.headers["authorization"]}
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(socket_path)) as direct,
        direct.ws_connect("http://c/ws?clientId=bench") as direct_socket,
        aiohttp.ClientSession(stack.url, headers=headers) as through,
        through.ws_connect("/comfy/ws?clientId=bench") as native_socket,
    ):
        kinds = {
            "bare": own_api(direct, direct_socket, "http://c", "bench"),
            "v1": v1(through),
            "v2": v2(through),
            "native": own_api(through, native_socket, "/comfy", "bench"),
        }
        times: dict[str, list[float]] = {name: [] for name in kinds}
        for number in range(runs + WARM_UP):
            for name, run in kinds.items():
                graph = picture(color=number % 2, prefix="bench")
                began = time.perf_counter()
                await run(graph)
                if number >= WARM_UP:
                    times[name].append(time.perf_counter() - began)
                if name == "bare":  # its file would become an output of the next run
                    for path in filter(Path.is_file, leftovers.iterdir()):
                        path.unlink()
    figures = {name: quantiles(values) for name, values in times.items()}
    bare = figures["bare"]["p50_ms"]
    added = {name: round(figures[name]["p50_ms"] - bare, 2) for name in kinds if name != "bare"}
    ratio = {name: round(value / bare, 2) for name, value in added.items()}
    goal = "v1 adds <= 15 ms (first step), <= 5 ms, where bare takes 2.2 to 3.0 ms; v2 and native <= v1 + 1 ms"
    report("overhead", {"runs": runs, **figures, "added_p50_ms": added, "added_over_bare": ratio, "goal": goal})


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with started() as stack:
        stack.wait_ready()
        asyncio.run(measure(stack, stack.client(), runs))


if __name__ == "__main__":
    main()
