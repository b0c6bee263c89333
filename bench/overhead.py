"""Latency that comfyward adds to a warm trivial run, from submission to visible result, over ComfyUI used directly.

Runs of all kinds alternate, against one ComfyUI process: ComfyUI itself, and each of comfyward's APIs, waiting as its
clients do (v1: one long request; v2: the event stream; ComfyUI's own: the websocket, then the history). With the Python
of an environment that has `bench/peers.txt`, also comfy-api-proxy, which is a client of the same ComfyUI.
`python bench/overhead.py [RUNS] [PYTHON_WITH_PEERS]`
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.stack import quantiles, report, started
from tests.servers import free_port
from tests.stack.graphs import picture
from tests.stack.stack import Client, Stack

WARM_UP = 10
# The proxy reaches ComfyUI as the others do: over its Unix socket, there is no other way into its sandbox.
PROXY = """
import sys, aiohttp
from comfy_api_proxy import app, cli
_, socket, port, state = sys.argv
app.ClientSession = lambda **how: aiohttp.ClientSession(connector=aiohttp.UnixConnector(socket), **how)
cli.main(["run", "--comfyui", "http://c", "--port", port, "--state-dir", state])
"""

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


def proxied(session: aiohttp.ClientSession) -> Run:
    async def run(graph: dict) -> None:
        async with session.post("/api/v2/jobs", json={"workflow": graph}) as answer:
            job = (await answer.json())["id"]
        status = ""
        while status != "succeeded":  # without a pause: the fastest way to see the end
            async with session.get(f"/api/v2/jobs/{job}") as answer:
                status = (await answer.json())["status"]  # "expired" for the moment between queue and history
            assert status in ("queued", "running", "expired", "succeeded"), status

    return run


@contextlib.asynccontextmanager
async def proxy(python: str, socket: str) -> AsyncIterator[Run]:
    """comfy-api-proxy before ComfyUI, with its state on disk."""
    port = free_port()
    with tempfile.TemporaryDirectory() as state:
        process = subprocess.Popen([python, "-c", PROXY, socket, str(port), state], stdout=subprocess.DEVNULL)
        try:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
                while True:
                    with contextlib.suppress(aiohttp.ClientError):
                        async with session.get("/api/v2/health"):
                            break
                    await asyncio.sleep(0.05)
                yield proxied(session)
        finally:
            process.terminate()
            process.wait()


async def measure(stack: Stack, client: Client, runs: int, peers: str | None) -> None:
    socket_path = str(max(Path(tempfile.gettempdir()).glob("cw-*/comfyui.sock"), key=os.path.getmtime))
    leftovers = max((stack.data_dir / "workers" / "local-0").glob("comfyui-*"), key=os.path.getmtime) / "output"
    headers = {"Authorization": client.http.headers["authorization"]}
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(socket_path)) as direct,
        direct.ws_connect("http://c/ws?clientId=bench") as direct_socket,
        aiohttp.ClientSession(stack.url, headers=headers) as through,
        through.ws_connect("/comfy/ws?clientId=bench") as native_socket,
        contextlib.AsyncExitStack() as others,
    ):
        beside = {"bare": own_api(direct, direct_socket, "http://c", "bench")}
        if peers is not None:
            beside["proxy"] = await others.enter_async_context(proxy(peers, socket_path))
        kinds = {
            **beside,
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
                if name in beside:  # its file would become an output of the next run
                    for path in filter(Path.is_file, leftovers.iterdir()):
                        path.unlink()
    figures = {name: quantiles(values) for name, values in times.items()}
    bare = figures["bare"]["p50_ms"]
    added = {name: round(figures[name]["p50_ms"] - bare, 2) for name in kinds if name != "bare"}
    goal = "each API adds <= 3 ms, where bare takes 2.2 to 3.0 ms, and <= 1.2 times what the proxy adds"
    ratios = {"added_over_bare": {name: round(value / bare, 2) for name, value in added.items()}}
    if peers is not None:
        ratios["added_over_proxy"] = {name: round(value / added["proxy"], 2) for name, value in added.items()}
    report("overhead", {"runs": runs, **figures, "added_p50_ms": added, **ratios, "goal": goal})


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    peers = sys.argv[2] if len(sys.argv) > 2 else None
    with started() as stack:
        stack.wait_ready()
        asyncio.run(measure(stack, stack.client(), runs, peers))


if __name__ == "__main__":
    main()
