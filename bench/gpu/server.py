"""A server with local workers, as an operator starts it, its accounts, and the processes that belong to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from sqlalchemy import Connection

from bench.gpu.graphs import Graph
from comfyward.store import accounts
from comfyward.store.backends import open_database
from comfyward.store.db import now_ms

STOP_S = 15.0
NOWHERE = "http://127.0.0.1:9"
RUNS = "/api/v1/workflows/default/runs"


class Failed(Exception):
    """What was promised did not happen."""


@dataclass(frozen=True)
class Account:
    """One account's client."""

    http: httpx2.Client

    def submit(self, graph: Graph, **more: Any) -> str:
        answer = self.http.post(RUNS, json={"prompt": graph, **more})
        if answer.status_code != 200:
            raise Failed(f"{answer.status_code}: {answer.text}")
        return str(answer.json()["id"])

    def get(self, run_id: str) -> dict[str, Any]:
        return dict(self.http.get(f"/api/v1/runs/{run_id}").raise_for_status().json())

    def ended(self, run_id: str) -> dict[str, Any]:
        """The run once it has ended; the check's alarm ends the wait for one that does not."""
        while True:
            run = dict(self.http.get(f"{RUNS}/{run_id}?wait=20").raise_for_status().json())
            if run["status"] in ("COMPLETED", "ERROR", "INSUFFICIENT_CREDIT"):
                return run

    def run(self, graph: Graph, **more: Any) -> dict[str, Any]:
        return self.ended(self.submit(graph, **more))

    def events(self, run_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """(type, data) of the run's events, live, to its end."""
        with self.http.stream("GET", f"{RUNS}/{run_id}/events") as stream:
            kind = ""
            for line in stream.iter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    yield kind, json.loads(value)

    def wait_for(self, run_id: str, kind: str, **wanted: Any) -> None:
        """Returns at the first event of a kind with the wanted values."""
        for found, data in self.events(run_id):
            if found == kind and all(data.get(key) == value for key, value in wanted.items()):
                return
        raise Failed(f"the run ended without {kind} {wanted}: {self.get(run_id)}")

    def facts(self, graph: Graph, **more: Any) -> dict[str, Any]:
        """What a node of the pack shows, with the run's own facts."""
        return facts_of(self.run(graph, **more))


def facts_of(run: dict[str, Any]) -> dict[str, Any]:
    if run["status"] != "COMPLETED":
        error = run.get("error") or {}
        raise Failed(f"{run.get('end_reason')}: {error.get('message')} (attempt {run.get('attempt')})")
    shown = next((json.loads(each["text"]) for each in run["output"] if each.get("text")), {})
    return {**shown, "attempt": run["attempt"], "run_ms": run["run_time"]}


class Server:
    """`comfyward serve` in a process group of its own."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.data_dir = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "no-node-map").mkdir(exist_ok=True)
        self.port = _free_port()
        own = {
            "port": str(self.port),
            "data_dir": str(folder),
            "editor": "false",
            "node_registry_url": NOWHERE,
            "node_map_dir": str(folder / "no-node-map"),
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith("COMFYWARD_")}
        self.environment = {
            **kept,
            **{f"COMFYWARD_{name.upper()}": value for name, value in {**own, **settings}.items()},
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._accounts: dict[str, Account] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Server:
        self._process = self._spawn("serve.log", "serve")
        with httpx2.Client(base_url=self.url, trust_env=False, timeout=5) as http:
            while True:
                if self._process.poll() is not None:
                    raise Failed(f"the server ended: {self.log()}")
                with contextlib.suppress(httpx2.TransportError):
                    if http.get("/readyz").status_code == 200:
                        return self
                time.sleep(0.05)

    def worker(self, pool: str, token: str, **settings: str) -> subprocess.Popen[bytes]:
        """Another worker on the same device, for a pool of its own."""
        more = {f"COMFYWARD_{name.upper()}": value for name, value in settings.items()}
        data_dir = str(self.data_dir / f"worker-{pool}")
        options = ("--server", self.url, "--pool", pool, "--id", pool.lower(), "--data-dir", data_dir)
        return self._spawn(f"worker-{pool}.log", "worker", *options, **more, COMFYWARD_WORKER_TOKEN=token)

    def wait_for_worker(self, account: Account, pool: str) -> None:
        """Returns once a pool has a worker that is ready."""
        while True:
            pools = account.http.get("/api/v1/accelerators").raise_for_status().json()
            if any(each["name"] == pool and each["workers"] > 0 for each in pools):
                return
            time.sleep(0.1)

    def command(self, *arguments: str) -> str:
        """The output of a command of comfyward with this server's settings."""
        done = subprocess.run(
            [sys.executable, "-m", "comfyward", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout.strip()

    def account(self, name: str | None = None) -> Account:
        """The admin, or an account of this name, which is made when it is new."""
        if (name or "") not in self._accounts:
            headers = {"Authorization": f"Bearer {self._new_key(name)}"}
            http = httpx2.Client(base_url=self.url, headers=headers, trust_env=False, timeout=60)
            self._accounts[name or ""] = Account(http)
        return self._accounts[name or ""]

    def _new_key(self, name: str | None) -> str:
        database = open_database(f"sqlite:///{self.data_dir / 'comfyward.db'}", 2)
        try:
            return asyncio.run(database.write(_key_of, name))
        finally:
            database.close()

    def worker_pid(self, worker_id: str = "local-") -> int:
        """The newest worker whose id contains this."""
        return max(self._pids(lambda words: "worker" in words and any(worker_id in word for word in words)))

    def comfyui_pids(self) -> set[int]:
        """Processes of ComfyUI of this server's workers."""
        folder = str(self.data_dir)
        return self._pids(lambda words: any("main.py" in word for word in words) and folder in " ".join(words))

    def _pids(self, wanted: Callable[[list[str]], bool]) -> set[int]:
        """The processes with such a command line, of this server and its workers."""
        found = set()
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
                if (self.url in words or str(self.data_dir) in " ".join(words)) and wanted(words):
                    found.add(int(process.name))
        return found

    def is_answering(self) -> bool:
        with contextlib.suppress(httpx2.HTTPError):
            return httpx2.get(f"{self.url}/readyz", trust_env=False, timeout=5).status_code == 200
        return False

    def kill(self) -> None:
        """As a power cut would, for the server's process alone."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL to what is left of its group."""
        for account in self._accounts.values():
            account.http.close()
        self._accounts.clear()
        end(self._process)

    def log(self) -> str:
        return (self.data_dir / "serve.log").read_text(errors="replace")[-2000:]

    def _spawn(self, log: str, *arguments: str, **more: str) -> subprocess.Popen[bytes]:
        with (self.data_dir / log).open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "comfyward", *arguments],
                env={**self.environment, **more},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )


def end(process: subprocess.Popen[bytes] | None) -> None:
    """Ends a process as an operator would, and kills what is left of its group."""
    if process is None:
        return
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(STOP_S)


def _key_of(conn: Connection, name: str | None) -> str:
    if name is None:
        owner = accounts.ensure_admin(conn, now_ms())[0]
    else:
        known = {each.name: each for each in accounts.find(conn)}
        owner = known.get(name) or accounts.create(conn, name, "member", None, now_ms())
    return accounts.create_key(conn, owner.id, "gpu-check", now_ms())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
