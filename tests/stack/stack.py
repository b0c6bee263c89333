"""A whole comfyward in processes of its own, as an operator would start it, and a client of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx2
from sqlalchemy import Connection

from comfyward.accounts.account import Account
from comfyward.store import accounts, sessions
from comfyward.store.backends import open_database
from comfyward.store.db import Database, now_ms
from comfyward.worker.protocol import PROTOCOL
from tests import loopback
from tests.command_line import comfyward
from tests.forked import Forked
from tests.looks import looks
from tests.servers import free_port, node_map, sqlite_with_tables

R = TypeVar("R")

START_TIMEOUT_S = 300  # of a whole system with the real ComfyUI, on a machine that is busy
END_TIMEOUT_S = 120


NO_REGISTRY = "http://127.0.0.1:9"  # nobody listens


@dataclass
class Client:
    """One account's client."""

    http: httpx2.Client

    @property
    def key(self) -> str:
        return str(self.http.headers["authorization"]).removeprefix("Bearer ")

    def post_run(self, body: dict[str, Any], workflow: str = "default", **headers: str) -> httpx2.Response:
        return self.http.post(f"/api/v1/workflows/{workflow}/runs", json=body, headers=headers)

    def submit(self, prompt: dict[str, Any], **more: Any) -> str:
        answer = self.post_run({"prompt": prompt, **more})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    def get(self, run_id: str) -> dict[str, Any]:
        answer = self.http.get(f"/api/v1/runs/{run_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def events(self, run_id: str, after: int | None = None) -> Iterator[tuple[str, dict[str, Any], int | None]]:
        """(type, data, number) of the run's events, live, to its end."""
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        url = f"/api/v1/workflows/default/runs/{run_id}/events"
        with self.http.stream("GET", url, headers=headers, timeout=END_TIMEOUT_S) as stream:
            kind, number = "", None
            for line in stream.iter_lines():
                name, _, value = line.partition(": ")
                if name == "id":
                    number = int(value)
                elif name == "event":
                    kind = value
                elif name == "data":
                    yield kind, json.loads(value), number
                    number = None

    def wait_for(self, run_id: str, kind: str, **wanted: Any) -> dict[str, Any]:
        """The first event of a kind with the wanted values."""
        for found, data, _ in self.events(run_id):
            if found == kind and all(data.get(key) == value for key, value in wanted.items()):
                return data
        raise AssertionError(f"the run ended without {kind} {wanted}: {self.get(run_id)}")

    def finish(self, run_id: str) -> dict[str, Any]:
        """The run when it is over; follows its events, reconnecting as a client would."""
        deadline = time.monotonic() + END_TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                for _ in self.events(run_id):
                    pass
                run = self.get(run_id)
                if run["status"] in ("COMPLETED", "ERROR", "INSUFFICIENT_CREDIT"):
                    return run
            except httpx2.TransportError:
                time.sleep(0.05)  # the server is away; a client can only try again
        raise AssertionError(f"run {run_id} did not end: {self.get(run_id)}")

    def run(self, prompt: dict[str, Any], **more: Any) -> dict[str, Any]:
        return self.finish(self.submit(prompt, **more))

    def cancel(self, run_id: str) -> dict[str, Any]:
        answer = self.http.post(f"/api/v1/workflows/default/runs/{run_id}/cancel")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


@dataclass
class Stack:
    """`comfyward serve` with local workers. Settings are given as environment variables' lower-case names."""

    data_dir: Path
    settings: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | Forked | None = None
    port: int = 0
    clients: list[Client] = field(default_factory=list)
    database: Database | None = None  # the server's, once a test has written to it
    front_url: str | None = None  # of a load balancer that it stands behind, with others
    program: tuple[str, ...] = ()  # what a Python of its own runs, instead of one that is forked

    def start(self) -> Stack:
        self.port = self.port or free_port()
        settings = {"port": str(self.port), "data_dir": str(self.data_dir), "node_registry_url": NO_REGISTRY}
        settings |= self.settings
        environment = {key: value for key, value in os.environ.items() if not key.startswith("COMFYWARD_")}
        environment |= {f"COMFYWARD_{name.upper()}": value for name, value in settings.items()} | self.environment
        self._make_data_dir()
        log = self.data_dir / "server.log"
        if self.program:
            command = [sys.executable, *self.program, "serve"]
            with log.open("a") as output:
                self.process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, text=True)
        else:
            self.process = Forked("serve", environment=environment, log=log)
        self.wait_answering("/healthz")
        return self

    def _make_data_dir(self) -> None:
        """For a server that is forked, with what takes most of a first start: tables, and the map of node classes."""
        if self.data_dir.exists():
            return
        self.data_dir.mkdir(parents=True)
        if self.program:
            return
        if "database_url" not in self.settings:
            shutil.copy(sqlite_with_tables(), self.data_dir / "comfyward.db")
        if not self.settings.keys() & {"environments_dir", "node_map_dir"} and (found := node_map()):
            environments = self.data_dir / "environments"
            environments.mkdir()
            (environments / found.name).symlink_to(found)

    def wait_ready(self) -> Stack:
        self.wait_answering("/readyz")
        return self

    def wait_answering(self, path: str) -> None:
        with loopback.Client(base_url=self.own_url) as http:
            for _ in looks(START_TIMEOUT_S):
                assert self.process is not None
                if self.process.poll() is not None:
                    raise AssertionError(f"the server ended: {self.log()}")
                with contextlib.suppress(httpx2.TransportError):
                    if http.get(path).status_code == 200:
                        return
        raise AssertionError(f"{path} is not 200:\n{self.log()}\n{self.worker_log()}")

    @property
    def native_url(self) -> str:
        """ComfyUI's own API, on a port of its own."""
        return f"http://127.0.0.1:{self.settings['native_port']}"

    @property
    def url(self) -> str:
        """The URL that clients use."""
        return self.front_url or self.own_url

    @property
    def editor_url(self) -> str:
        """The origin that the editor has by default, for clients of `url`."""
        return self.url.replace("127.0.0.1", "editor.localhost")

    @property
    def own_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, account: str | None = None) -> Client:
        """A client with a new key of an account, which is made when it is new."""
        key = self.write(_new_key, account)
        client = Client(loopback.Client(base_url=self.url, headers={"Authorization": f"Bearer {key}"}, timeout=60))
        self.clients.append(client)
        return client

    def worker_call(self, token: str, path: str, message: dict[str, Any]) -> httpx2.Response:
        """A call as workers make it."""
        headers = {"Authorization": f"Bearer {token}"}
        return loopback.post(f"{self.url}/worker/v1/{path}", json=message, headers=headers, timeout=60)

    def worker_hello(self, token: str, *, protocol: int = PROTOCOL, **about: Any) -> httpx2.Response:
        """Greets the server as a worker of this token: of pool L4, and with `x` for all that is not given."""
        names = ("incarnation", "environment", "device", "host", "sandbox")
        worker = {"id": f"of-{token[:12]}", **dict.fromkeys(names, "x"), "pool": "L4", "versions": {}, **about}
        return self.worker_call(token, "hello", {"worker": worker, "catalog_digest": "x", "protocol": protocol})

    def login_link(self, account: str | None = None) -> str:
        """A new one-time link into the website for an account (default: the admin), which is made when it is new."""
        token = self.write(_new_link, account)
        return f"{self.url}/enter/{token}"

    def visitor(self, account: str | None = None) -> httpx2.Client:
        """A browser without its window: logged in, and saying where its requests come from."""
        link = self.login_link(account)
        http = loopback.Client(base_url=self.url, headers={"Origin": self.url}, timeout=60)
        assert http.post(link.removeprefix(self.url), data={"password": ""}).status_code == 303
        self.clients.append(Client(http))
        return http

    def write(self, operation: Callable[..., R], *args: Any) -> R:
        """A store operation, run in a thread: a test that drives a browser has an event loop of its own in this one."""

        if self.database is None:
            sqlite = f"sqlite:///{self.data_dir / 'comfyward.db'}"
            self.database = open_database(self.settings.get("database_url", sqlite), 4)
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, self.database.write(operation, *args)).result()

    def cli(self, *arguments: str) -> str:
        """The output of a command run with this server's settings."""
        settings = {f"COMFYWARD_{name.upper()}": value for name, value in self.settings.items()}
        done = comfyward(
            *arguments, "--data-dir", str(self.data_dir), environment={**os.environ, **settings, **self.environment}
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def cli_error(self, *arguments: str) -> str:
        """The error output of a command that fails."""
        ended = comfyward(*arguments, "--data-dir", str(self.data_dir), environment=os.environ)
        assert ended.returncode != 0
        return ended.stderr

    def stop(self) -> int:
        """SIGTERM, as an operator or a supervisor would."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)

    def close(self) -> None:
        """Ends whatever is left of it."""
        for client in self.clients:
            client.http.close()
        if self.database is not None:
            self.database.close()
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def kill(self) -> None:
        """As a power cut would, for this process."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    @property
    def worker_id(self) -> str:
        """Of its first local worker."""
        server_id = self.data_dir / "server.id"
        return f"local-{server_id.read_text()}-0" if server_id.exists() else "local-0"

    def worker_pid(self, worker_id: str | None = None) -> int:
        worker_id = worker_id or self.worker_id
        return _pid(rf"comfyward worker .*--server {re.escape(self.own_url)} --id {worker_id} ")

    def comfyui_pid(self) -> int:
        return _pid(self._comfyui)

    def end_wait(self) -> None:
        """Ends the FakeWait that is executed, or is next."""
        os.kill(self.comfyui_pid(), signal.SIGUSR1)

    def comfyui_pids(self) -> list[int]:
        return pids(self._comfyui)

    @property
    def _comfyui(self) -> str:
        return rf"^[^ ]*python[^ ]* .*main\.py .*--base-directory {re.escape(str(self.data_dir))}"

    def log(self) -> str:
        return (self.data_dir / "server.log").read_text()[-3000:]

    def worker_log(self) -> str:
        return "\n".join(path.read_text()[-3000:] for path in (self.data_dir / "logs").glob("*.log"))


def _new_key(conn: Connection, account: str | None) -> str:
    return accounts.create_key(conn, _owner(conn, account).id, "test", now_ms())


def _new_link(conn: Connection, account: str | None) -> str:
    return sessions.offer_link(conn, _owner(conn, account).id, now_ms(), 60_000)


def _owner(conn: Connection, account: str | None) -> Account:
    if account is None:
        return accounts.ensure_admin(conn, now_ms())[0]
    known = {each.name: each for each in accounts.find(conn)}
    return known.get(account) or accounts.create(conn, account, "member", None, now_ms())


def _pid(pattern: str) -> int:
    """The newest process whose command line matches."""
    found = {pid: began for pid in pids(pattern) if (began := began_at(pid)) is not None}
    assert found, f"no process like {pattern}"
    return max(found, key=lambda pid: (found[pid], pid))


def began_at(pid: int) -> int | None:
    """When a process began, in ticks since the machine did: numbers begin anew at some ten thousand. None once it has
    ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(stat.rpartition(")")[2].split()[19])


def pids(pattern: str) -> list[int]:
    """The processes whose command line matches."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if re.search(pattern, command):
            found.append(int(path.name))
    return found
