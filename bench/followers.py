"""Memory of one server with many followers of runs, and many waiting workers.

    python -m bench.followers                              # 10,000 followers, 1,000 workers; SQLite
    python -m bench.followers --followers 1000 --hold 60   # how it changes while they are held open

Followers are event streams (Server-Sent Events) over loopback, of 100 runs that wait; workers are simulated as in
`bench.dispatch`, each with a held lease request and a held heartbeat. Prints the server's resident memory before and
after, and what each of them takes. Needs as many open files in this process, and in the server, as connections.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import msgspec
import uvloop

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.dispatch import SimulatedWorker, started
from bench.stack import report
from comfyward.worker.protocol import Heartbeat
from tests.stack.stack import Stack

RUNS = 100
AT_ONCE = 100
WAIT_S = 25.0


class HeldWorker(SimulatedWorker):
    """A worker that waits for runs and orders."""

    async def beat(self) -> None:
        while True:
            await self._post("heartbeat", Heartbeat(self._id, self._incarnation, [], wait_s=WAIT_S))


async def measure(stack: Stack, token: str, key: str, followers: int, workers: int, hold_s: float) -> dict[str, object]:
    run_ids = await submitted(stack.url, key)
    at_first = memory_mb(stack)
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}, connector=connector) as session,
        held_workers(stack.url, session, workers),
    ):
        with_workers = memory_mb(stack)
        writers = await follow(stack.url, key, [run_ids[number % RUNS] for number in range(followers)])
        with_followers = memory_mb(stack)
        await asyncio.sleep(hold_s)
        figures: dict[str, object] = {
            "followers": followers,
            "workers": workers,
            "memory_mb": round(at_first),
            "with_workers_mb": round(with_workers),
            "with_followers_too_mb": round(with_followers),
            "held_s": hold_s,
            "after_that_mb": round(memory_mb(stack)),
            "kb_per_worker": round((with_workers - at_first) * 1024 / max(1, workers), 1),
            "kb_per_follower": round((with_followers - with_workers) * 1024 / max(1, followers), 1),
        }
        for writer in writers:
            writer.close()
    return figures


async def submitted(url: str, key: str) -> list[str]:
    """The ids of runs that wait in a pool without workers."""
    body = msgspec.json.encode({"prompt": {"1": {"class_type": "Any", "inputs": {}}}, "accelerator": "T4"})
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    found = []
    async with aiohttp.ClientSession(headers=headers) as client:
        for _ in range(RUNS):
            async with client.post(f"{url}/api/v1/workflows/default/runs", data=body) as answer:
                found.append(json.loads(await answer.read())["id"])
    return found


@contextlib.asynccontextmanager
async def held_workers(url: str, session: aiohttp.ClientSession, count: int) -> AsyncIterator[None]:
    workers = [HeldWorker(number, url, session, {}) for number in range(count)]
    tasks = [asyncio.create_task(worker.run()) for worker in workers]
    await asyncio.sleep(2 + count / 150)  # until all of them have joined
    tasks += [asyncio.create_task(worker.beat()) for worker in workers]
    await asyncio.sleep(2 + count / 300)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def follow(url: str, key: str, run_ids: list[str]) -> list[asyncio.StreamWriter]:
    """Opens an event stream for each of some runs, and returns once each has sent its first event."""
    place, gate = urlsplit(url), asyncio.Semaphore(AT_ONCE)

    async def one(run_id: str) -> asyncio.StreamWriter:
        async with gate:
            reader, writer = await asyncio.open_connection(place.hostname, place.port)
            path = f"/api/v1/workflows/default/runs/{run_id}/events"
            head = f"GET {path} HTTP/1.1\r\nHost: {place.netloc}\r\nAuthorization: Bearer {key}\r\n\r\n"
            writer.write(head.encode())
            assert (await reader.readline()).split()[1] == b"200"
            await reader.readuntil(b"\n\r\n")
            await reader.readuntil(b"data:")
            return writer

    return list(await asyncio.gather(*(one(run_id) for run_id in run_ids)))


def memory_mb(stack: Stack) -> float:
    """The server's resident memory in MiB."""
    assert stack.process is not None
    lines = Path(f"/proc/{stack.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--followers", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--hold", type=float, default=20.0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    unlimited = {"connections_per_address": "0", "streams_per_account": "0"}
    with started(1, accelerators="L4,T4", **unlimited) as [stack]:
        token = stack.cli("tokens", "create", "bench").strip()
        key = stack.client().key
        figures = uvloop.run(measure(stack, token, key, args.followers, args.workers, args.hold))
    report(f"{args.followers} followers, {args.workers} workers", figures, args.json)


if __name__ == "__main__":
    main()
