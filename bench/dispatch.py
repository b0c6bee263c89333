"""Assignment of runs: simulated workers long-poll real servers, and runs are submitted at a steady rate.

    python -m bench.dispatch                            # SQLite, one server, 1,000 workers
    python -m bench.dispatch --servers 2                # PostgreSQL (Debian's, started here), two servers
    python -m bench.dispatch --workers 200 --rate 100

A simulated worker registers, asks for a run, reports its start and its end immediately, and asks again, without
ComfyUI. Prints the finished runs per second, the time from a run's submission to its assignment, the processor time
of a run in the servers, in PostgreSQL and in this driver, which share the machine, and the servers' while all wait.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import msgspec
import uvloop

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.stack import quantiles, report
from comfyward.runs.run import EndReason
from comfyward.worker.protocol import (
    PREFIX,
    PROTOCOL,
    Ask,
    Assignment,
    Ended,
    Hello,
    Reports,
    Started,
    WorkerInfo,
)
from tests import servers as test_servers
from tests.stack.stack import Stack

IDLE_S = 8.0
SUBMITTERS = 32
WAIT_S = 25.0


class SimulatedWorker:
    """A worker's side of the protocol, without a worker."""

    def __init__(self, number: int, url: str, session: aiohttp.ClientSession, taken: dict[str, float]) -> None:
        self._id, self._url, self._session, self._taken = f"sim-{number}", url, session, taken
        self._incarnation = f"life-{number}"

    async def run(self) -> None:
        info = WorkerInfo(self._id, self._incarnation, "L4", "default", "simulated", "here", "none", {})
        await self._post("hello", Hello(info, "none", PROTOCOL))
        while True:
            body = await self._post("lease", Ask(self._id, self._incarnation, True, [], [], WAIT_S, heard=True))
            if body:
                assignment = msgspec.json.decode(body, type=Assignment)
                self._taken[assignment.run_id] = time.perf_counter()
                await self._post("reports", Reports(assignment.lease, [Started(1)]))
                await self._post("reports", Reports(assignment.lease, [Ended(2, EndReason.COMPLETED, run_time_ms=1)]))

    async def _post(self, path: str, message: msgspec.Struct) -> bytes:
        async with self._session.post(f"{self._url}{PREFIX}/{path}", data=msgspec.json.encode(message)) as answer:
            body = await answer.read()
            assert answer.status in (200, 204), body
            return body


async def measure(
    stacks: list[Stack], token: str, key: str, workers: int, rate: float, seconds: float
) -> dict[str, object]:
    taken: dict[str, float] = {}
    submitted: dict[str, float] = {}
    urls = [stack.url for stack in stacks]
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}, connector=connector) as session:
        simulated = [
            asyncio.create_task(SimulatedWorker(number, urls[number % len(urls)], session, taken).run())
            for number in range(workers)
        ]
        await asyncio.sleep(10)  # until all of them wait
        idle = await cpu_share(stacks)
        before, began = spent_s(stacks), time.perf_counter()
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as client:
            await submit_steadily(client, urls, rate, seconds, submitted)
        deadline = time.perf_counter() + 60
        while len(taken) < len(submitted) and time.perf_counter() < deadline:
            await asyncio.sleep(0.05)
        took_s = time.perf_counter() - began
        spent = {name: after - before[name] for name, after in spent_s(stacks).items()}
        for task in simulated:
            task.cancel()
        await asyncio.gather(*simulated, return_exceptions=True)
    waits = [taken[run_id] - at for run_id, at in submitted.items() if run_id in taken]
    return {
        "workers": workers,
        "rate": rate,
        "servers": len(stacks),
        "runs": len(waits),
        "lost": len(submitted) - len(waits),
        "runs_per_s": round(len(waits) / took_s, 1),
        **{f"hand_out_{name}": value for name, value in quantiles([max(0.0, wait) for wait in waits]).items()},
        **{f"{name}_ms_per_run": round(each / max(1, len(waits)) * 1000, 2) for name, each in spent.items()},
        "idle_core_share": round(idle, 3),
    }


async def submit_steadily(
    client: aiohttp.ClientSession, urls: list[str], rate: float, seconds: float, submitted: dict[str, float]
) -> None:
    """Submits at the rate if the servers can take it; `submitted` gets the time at which each run was accepted."""
    body = msgspec.json.encode({"prompt": {"1": {"class_type": "Any", "inputs": {}}}, "accelerator": "L4"})
    began, count = time.perf_counter(), 0

    async def submitter(number: int) -> None:
        nonlocal count
        while (now := time.perf_counter() - began) < seconds:
            if count > now * rate:
                await asyncio.sleep(0.002)
                continue
            count += 1
            url = f"{urls[number % len(urls)]}/api/v1/workflows/default/runs"
            async with client.post(url, data=body, headers={"Content-Type": "application/json"}) as answer:
                run = msgspec.json.decode(await answer.read())
                submitted[run["id"]] = time.perf_counter()

    await asyncio.gather(*(submitter(number) for number in range(SUBMITTERS)))


async def cpu_share(stacks: list[Stack]) -> float:
    """The share of one core that all servers together use while every worker waits."""
    before = sum(cpu_s(stack) for stack in stacks)
    await asyncio.sleep(IDLE_S)
    return (sum(cpu_s(stack) for stack in stacks) - before) / IDLE_S


def spent_s(stacks: list[Stack]) -> dict[str, float]:
    """The processor time so far of the servers, of their database's connections, and of this process."""
    database = stacks[0].settings.get("database_url", "none").rpartition("/")[2]
    processes = Path("/proc").glob("[0-9]*/cmdline")
    return {
        "servers": sum(cpu_s(stack) for stack in stacks),
        "database": sum(of_process_s(found.parent) for found in processes if serves(found, database)),
        "driver": time.process_time(),
    }


def serves(command: Path, database: str) -> bool:
    """True for a process of PostgreSQL that serves a connection to a database."""
    with contextlib.suppress(OSError):  # it has ended
        return command.read_text().startswith("postgres:") and database in command.read_text()
    return False


def cpu_s(stack: Stack) -> float:
    assert stack.process is not None
    return of_process_s(Path("/proc") / str(stack.process.pid))


def of_process_s(process: Path) -> float:
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def started(servers: int, **more: str) -> Iterator[list[Stack]]:
    with contextlib.ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="cw-bench-")))
        settings = {"fleet": "none", "accelerators": "L4", "editor": "false", "max_waiting_runs": "1000000"}
        settings |= more
        if servers > 1:
            settings["database_url"] = held.enter_context(test_servers.postgres()).new_database()
            settings["objects_url"] = str(folder / "objects")
        stacks = []
        for number in range(servers):
            stack = Stack(folder / f"server-{number}", dict(settings))
            held.callback(stack.close)
            stacks.append(stack.start())
        yield stacks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=400)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with started(args.servers) as stacks:
        token = stacks[0].cli("tokens", "create", "bench").strip()
        key = stacks[0].client().key
        figures = uvloop.run(measure(stacks, token, key, args.workers, args.rate, args.seconds))
    report(f"{args.workers} workers, {args.servers} server(s)", figures, args.json)


if __name__ == "__main__":
    main()
