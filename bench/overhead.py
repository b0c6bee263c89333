"""What comfyward adds to a warm trivial run: submit -> result visible, beside the same ComfyUI driven directly.

Both kinds are interleaved in one session against one ComfyUI process. `python bench/overhead.py [RUNS]`
"""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from pathlib import Path

import aiohttp

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.stack import quantiles, report, started
from tests.stack.graphs import picture
from tests.stack.stack import Client, Stack


class Bare:
    """ComfyUI itself, over the socket that its worker uses."""

    def __init__(self, session: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse, client_id: str) -> None:
        self._session, self._socket, self._client_id = session, socket, client_id

    async def run(self, graph: dict) -> None:
        prompt_id = str(uuid.uuid4())
        body = {"prompt": graph, "prompt_id": prompt_id, "client_id": self._client_id}
        async with self._session.post("http://c/prompt", json=body) as answer:
            assert answer.status == 200, await answer.text()
        async for message in self._socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                data = message.json()
                if data["type"] == "executing" and data["data"] == {"node": None, "prompt_id": prompt_id}:
                    break
        async with self._session.get(f"http://c/history/{prompt_id}") as answer:
            assert (await answer.json())[prompt_id]["status"]["status_str"] == "success"


async def ours(session: aiohttp.ClientSession, graph: dict) -> None:
    async with session.post("/api/v1/workflows/default/runs", json={"prompt": graph}) as answer:
        run_id = (await answer.json())["id"]
    async with session.get(f"/api/v1/workflows/default/runs/{run_id}?wait=30") as answer:
        assert (await answer.json())["status"] == "COMPLETED"


async def measure(stack: Stack, client: Client, runs: int) -> None:
    environment = Path(f"/proc/{stack.comfyui_pid()}/environ").read_bytes().decode().split("\0")
    socket_path = next(e.partition("=")[2] for e in environment if e.startswith("COMFYWARD_SOCKET="))
    client_id = "bench"
    headers = {"Authorization": client.http.headers["authorization"]}
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(socket_path)) as direct,
        direct.ws_connect(f"http://c/ws?clientId={client_id}") as socket,
        aiohttp.ClientSession(stack.url, headers=headers) as through,
    ):
        bare = Bare(direct, socket, client_id)
        times: dict[str, list[float]] = {"bare": [], "comfyward": []}
        for number in range(runs + 10):
            graph = picture(color=number % 2, prefix="bench")
            for name, run in (("bare", bare.run(graph)), ("comfyward", ours(through, graph))):
                began = time.perf_counter()
                await run
                if number >= 10:  # the first ones warm up
                    times[name].append(time.perf_counter() - began)
                if name == "bare":  # its file would be taken for an output of the next run
                    for path in (stack.data_dir / "workers" / "local-0" / "comfyui" / "output").iterdir():
                        path.unlink()
    figures = {name: quantiles(values) for name, values in times.items()}
    added = round(figures["comfyward"]["p50_ms"] - figures["bare"]["p50_ms"], 2)
    report("overhead", {"runs": runs, **figures, "added_p50_ms": added, "goal": "<= 15 ms (first step), <= 5 ms"})


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with started() as stack:
        stack.wait_ready()
        asyncio.run(measure(stack, stack.client(), runs))


if __name__ == "__main__":
    main()
