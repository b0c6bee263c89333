"""Runs of five accounts over two servers and six workers, while processes of every kind are killed at random.

    python -m bench.chaos                          # 10,000 runs
    python -m bench.chaos --runs 500 --seed 7

Servers, workers, ComfyUIs with everything around them, the load balancer and PostgreSQL are killed (SIGKILL; PostgreSQL
by an immediate stop) and started again. Each run leaves a marker wherever its ComfyUI can write, and shows the markers
that it finds. Counts what must be 0:

    lost             acknowledged runs that did not complete
    doubled          runs beside those that were submitted, or with more than their two outputs
    charged_twice    runs with more than one charge
    gaps             runs whose events are not numbered from 1 without a gap
    orphans          processes left behind after everything was stopped
    seen_by_others   runs that saw a marker of another account, or could be read by one
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import logging
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import psycopg

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.stack import report
from tests import servers as test_servers
from tests.fakes.http import receiver
from tests.servers import Postgres
from tests.stack.cluster import Cluster, balance
from tests.stack.graphs import fake_save, node
from tests.stack.stack import Client

ACCOUNTS = ("ada", "ben", "cleo", "dan", "eve")
WAITING_PER_ACCOUNT = 100
COMFYUI_EVERY_S, WORKER_EVERY_S, AROUND_EVERY_S = (0.5, 2.0), (3.0, 9.0), (4.0, 12.0)  # shortest and longest pause
OUTPUTS_PER_RUN = 2
SUBMIT_TIMEOUT_S = 120.0
GONE_WITHIN_S = 30.0
FAKE_COMFYUI = Path(test_servers.__file__).parent / "fakes" / "comfyui"
FINAL = "('succeeded', 'failed', 'cancelled')"


@dataclass
class Killer:
    """Kills random processes of a cluster again and again, and starts again what nothing else would start."""

    cluster: Cluster
    seed: int
    kills: Counter[str] = field(default_factory=Counter)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """ComfyUIs, workers, servers and what servers need are killed side by side."""
        around = (self._kill_server, self._kill_server, self._kill_balancer, self._kill_database)
        with ThreadPoolExecutor(3) as threads:
            killing = [
                threads.submit(self._kill, (self._kill_comfyui,), COMFYUI_EVERY_S, random.Random(self.seed)),
                threads.submit(self._kill, (self._kill_worker,), WORKER_EVERY_S, random.Random(self.seed + 1)),
                threads.submit(self._kill, around, AROUND_EVERY_S, random.Random(self.seed + 2)),
            ]
            try:
                yield
            finally:
                self._stop.set()
            for each in killing:
                each.result()

    def _kill(
        self, acts: Sequence[Callable[[random.Random], None]], every_s: tuple[float, float], chance: random.Random
    ) -> None:
        while not self._stop.wait(chance.uniform(*every_s)):
            chance.choice(acts)(chance)

    def _kill_comfyui(self, chance: random.Random) -> None:
        """Any process below a worker: its sandbox, a ComfyUI's parent, the ComfyUI."""
        worker = chance.choice(self.cluster.workers)
        if worker.process is not None and (below := sorted(descendants(worker.process.pid))):
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(below), signal.SIGKILL)
                self.kills["comfyui"] += 1

    def _kill_worker(self, chance: random.Random) -> None:
        worker = chance.choice(self.cluster.workers)
        worker.close()
        worker.start()
        self.kills["worker"] += 1

    def _kill_server(self, chance: random.Random) -> None:
        server = chance.choice(self.cluster.servers)
        server.kill()
        server.start()
        self.kills["server"] += 1

    def _kill_balancer(self, _: random.Random) -> None:
        cluster = self.cluster
        assert cluster.balancer is not None
        cluster.balancer.kill()
        cluster.balancer.wait()
        cluster.balancer = balance(cluster.folder, cluster.port, [server.port for server in cluster.servers])
        self.kills["balancer"] += 1

    def _kill_database(self, _: random.Random) -> None:
        self.cluster.postgres.stop("immediate")
        self.cluster.postgres.start()
        self.kills["database"] += 1


@dataclass
class Load:
    """The runs of one account, submitted as a careful client does: what was not answered is sent again with its key."""

    account: str
    client: Client
    database: str
    webhook: str
    submitted: list[str] = field(default_factory=list)

    def submit(self, runs: int) -> None:
        for number in range(runs):
            while number % 10 == 0 and self._waiting() >= WAITING_PER_ACCOUNT:
                time.sleep(0.1)
            self.submitted.append(self._insist(number))

    def _insist(self, number: int) -> str:
        graph = {**fake_save(f"{self.account}-{number}"), "spy": node("FakeSpy", marker=f"{self.account}-{number}")}
        body = {"prompt": graph, "accelerator": "L4", "webhook": self.webhook if number % 10 == 0 else None}
        deadline = time.monotonic() + SUBMIT_TIMEOUT_S
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx2.TransportError):
                answer = self.client.post_run(body, **{"Idempotency-Key": f"{self.account}-{number}"})
                if answer.status_code == 200:
                    return str(answer.json()["id"])
                assert answer.status_code >= 500, answer.text
            time.sleep(0.05)
        raise AssertionError(f"no server took run {number} of {self.account} within {SUBMIT_TIMEOUT_S:g} s")

    def _waiting(self) -> int:
        query = (
            f"SELECT count(*) FROM runs JOIN accounts a ON a.id = account_id WHERE name = %s AND state NOT IN {FINAL}"
        )
        return int(rows(self.database, query, self.account)[0][0])


def rows(database: str, query: str, *values: object) -> list[tuple]:
    """The rows that a query finds, asked again while the database is down."""
    for _ in itertools.repeat(None, 600):
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(database) as conn:
            return conn.execute(query, values).fetchall()  # type: ignore[call-overload]
        time.sleep(0.1)
    raise AssertionError("the database does not come back")


def descendants(root: int) -> set[int]:
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found: set[int] = set()
    below = {root}
    while below:
        below = {pid for pid, parent in parents.items() if parent in below} - found
        found |= below
    return found


def wait_until_ended(database: str, runs: int) -> None:
    """Returns when no run is in progress; prints how many are left meanwhile."""
    while left := rows(database, f"SELECT count(*) FROM runs WHERE state NOT IN {FINAL}")[0][0]:
        print(f"\r  {runs - left:,} of {runs:,} ended", end="", file=sys.stderr, flush=True)
        time.sleep(1)
    print(file=sys.stderr)


def faults(loads: list[Load], database: str) -> dict[str, int]:
    """The counts that must be 0, from the database and from what the accounts read."""
    submitted = {run_id for load in loads for run_id in load.submitted}
    stored = dict(rows(database, "SELECT id, state FROM runs"))
    with ThreadPoolExecutor(len(loads)) as threads:
        read = list(threads.map(_read, loads, itertools.islice(itertools.cycle(loads), 1, None)))
    charges = "SELECT run_id FROM usage GROUP BY run_id HAVING count(*) > 1"
    whole = "SELECT run_id FROM events GROUP BY run_id HAVING count(*) = max(seq) AND min(seq) = 1"
    return {
        "lost": sum(stored.get(run_id) != "succeeded" for run_id in submitted),
        "doubled": len(stored.keys() - submitted) + sum(doubled for doubled, _ in read),
        "charged_twice": len(rows(database, charges)),
        "gaps": len(stored.keys() - {run_id for (run_id,) in rows(database, whole)}),
        "seen_by_others": sum(seen for _, seen in read),
    }


def _read(load: Load, other: Load) -> tuple[int, int]:
    """(runs with a wrong number of outputs, runs that show or are shown to another account)."""
    doubled = seen = 0
    for number, run_id in enumerate(load.submitted):
        outputs = load.client.get(run_id)["output"]
        doubled += len(outputs) != OUTPUTS_PER_RUN
        markers = " ".join(output.get("text") or "" for output in outputs).split()
        seen += any(not marker.startswith(f"{load.account}-") for marker in markers)
        if number % 20 == 0:
            seen += other.client.http.get(f"/api/v1/runs/{run_id}").status_code != 404
    return doubled, seen


def orphans(folder: Path) -> int:
    """The processes that name a folder, once no more of them end."""
    deadline = time.monotonic() + GONE_WITHIN_S
    while (left := _naming(folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return len(left)


def _naming(folder: Path) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if str(folder).encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
    return found


@contextlib.contextmanager
def started(folder: Path, postgres: Postgres, workers: int) -> Iterator[Cluster]:
    with test_servers.s3() as s3:
        fake = {
            "comfyui": str(Path(test_servers.__file__).parent / "fakes" / "comfyui"),
            "comfyui_python": sys.executable,
        }
        settings = {"isolation": "account", "max_attempts": "50", "lease_s": "3"}
        cluster = Cluster(folder, postgres, s3, fake | {"fetch_allow": "127.0.0.1"}, settings)
        try:
            cluster.start(2)
            cluster.join(workers)
            yield cluster
        finally:
            cluster.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # the S3 server writes a line for every request
    with (
        tempfile.TemporaryDirectory(prefix="cw-chaos-") as name,
        test_servers.postgres() as postgres,
        receiver() as hook,
    ):
        folder = Path(name)
        with started(folder, postgres, args.workers) as cluster:
            database = cluster.servers[0].settings["database_url"]
            loads = [Load(account, cluster.client(account), database, hook.url) for account in ACCOUNTS]
            killer = Killer(cluster, args.seed)
            began = time.monotonic()
            with killer.at_work():
                with ThreadPoolExecutor(len(loads)) as threads:
                    list(threads.map(lambda load: load.submit(args.runs // len(loads)), loads))
                wait_until_ended(database, args.runs)
            took_s = time.monotonic() - began
            found = faults(loads, database)
        found["orphans"] = orphans(folder)
    figures = {"runs": sum(len(load.submitted) for load in loads), "seed": args.seed, "seconds": round(took_s)}
    report("chaos", {**figures, **{f"kills_{kind}": count for kind, count in sorted(killer.kills.items())}, **found})
    if any(found.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
