"""Several servers on one PostgreSQL and one bucket, a load balancer before them, and workers that joined by it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests import loopback
from tests.conftest import ROOT
from tests.forked import Forked
from tests.servers import S3, Postgres, free_port
from tests.stack.stack import Client, Stack

BALANCER = (
    ROOT.parent / "deploy" / "haproxy.cfg"
).read_text()  # as users get it, with other addresses and quick checks
QUICK_CHECKS = "inter 200ms fastinter 100ms"


@dataclass
class Worker:
    """`comfyward worker`, as somebody starts it on a machine of their own."""

    name: str
    server_url: str
    token: str
    data_dir: Path
    settings: dict[str, str]
    pool: str = "L4"
    process: Forked | None = None

    def start(self) -> Worker:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        options = ["--server", self.server_url, "--id", self.name, "--pool", self.pool]
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("COMFYWARD_", "AWS_"))}
        environment |= {f"COMFYWARD_{name.upper()}": value for name, value in self.settings.items()}
        environment["COMFYWARD_WORKER_TOKEN"] = self.token
        options += ["--data-dir", str(self.data_dir)]
        self.process = Forked("worker", *options, environment=environment, log=self.data_dir / "worker.log")
        return self

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@dataclass
class Cluster:
    """Servers are `servers[i]`; `url` is the balancer's."""

    folder: Path
    postgres: Postgres
    s3: S3
    worker_settings: dict[str, str]
    settings: dict[str, str] = field(default_factory=dict)
    servers: list[Stack] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)
    balancer: subprocess.Popen[bytes] | None = None
    port: int = 0

    def start(self, servers: int = 2) -> Cluster:
        self.bucket = self.s3.new_bucket()
        shared = {
            "database_url": self.postgres.new_database_with_tables(),
            "objects_url": self.bucket,
            "objects_endpoint": self.s3.url,
            "fleet": "none",
            "accelerators": "L4",
            "lease_s": "15",
            "editor": "false",
            "fetch_allow": "127.0.0.1",
            "database_connections": "8",
            **self.settings,
        }
        self.port = free_port()
        shared.setdefault("public_url", self.url)
        for number in range(servers):
            server = Stack(self.folder / f"server-{number}", dict(shared), self.s3.environment)
            self.servers.append(server.start())
        self.balancer = balance(self.folder, self.port, [server.port for server in self.servers])
        return self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def join(self, workers: int = 1, pool: str = "L4") -> list[Worker]:
        """Workers, each as on a host of its own, that know the balancer's address and a token."""
        token = self.servers[0].cli("tokens", "create", "workers").strip()
        joined = [
            Worker(
                f"worker-{number}", self.url, token, self.folder / f"worker-{number}", self.worker_settings, pool
            ).start()
            for number in range(len(self.workers), len(self.workers) + workers)
        ]
        self.workers += joined
        return joined

    def client(self, account: str | None = None) -> Client:
        """By the balancer."""
        return self.at(self.servers[0].client(account).key, self.url)

    def at(self, key: str, url: str) -> Client:
        """A client of one server, or of the balancer."""
        client = Client(loopback.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60))
        self.servers[0].clients.append(client)
        return client

    def logs(self) -> str:
        paths: Sequence[Path] = [*self.folder.glob("*/server.log"), *self.folder.glob("*/worker.log")]
        return "\n".join(f"--- {path}\n{path.read_text(errors='replace')[-3000:]}" for path in sorted(paths))

    def close(self) -> None:
        for worker in self.workers:
            worker.close()
        for server in self.servers:
            server.close()
        if self.balancer is not None:
            self.balancer.kill()
            self.balancer.wait()


def balance(
    folder: Path, port: int, ports: list[int], probe: str = "/readyz", changes: Sequence[tuple[str, str]] = ()
) -> subprocess.Popen[bytes]:
    """HAProxy on a port, before servers on other ports. `changes` are (pattern, text) of its configuration."""
    config = folder / "haproxy.cfg"
    config.write_text(_configuration(port, ports, probe, changes))
    with (folder / "haproxy.log").open("ab") as log:
        process = subprocess.Popen(["haproxy", "-db", "-f", str(config)], stdout=log, stderr=log)
    Stack(folder, process=process, port=port).wait_answering("/healthz")  # type: ignore[arg-type]
    return process


def _configuration(port: int, ports: list[int], probe: str, more: Sequence[tuple[str, str]]) -> str:
    changes = [
        (r"^resolvers docker\n( .*\n)+", ""),
        (r" resolvers docker init-addr none", ""),
        (r"inter 1s fastinter 200ms", QUICK_CHECKS),
        (r"bind \*:8600", f"bind 127.0.0.1:{port}"),
        (r"GET /readyz", f"GET {probe}"),
        *((rf"server-{number}:8600", f"127.0.0.1:{each}") for number, each in enumerate(ports, 1)),
        *more,
    ]
    text = BALANCER
    for pattern, replacement in changes:
        text, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
        assert count, f"{pattern} is not in deploy/haproxy.cfg"
    return text


@dataclass
class Beside:
    """Turns a server with local workers into one of two, on PostgreSQL and S3, behind a balancer."""

    postgres: Postgres
    s3: S3
    other: Stack | None = None
    balancer: subprocess.Popen[bytes] | None = None

    def start(self, stack: Stack) -> Stack:
        """Starts it, another one beside it, and the balancer."""
        stack.settings |= {
            "database_url": self.postgres.new_database_with_tables(),
            "objects_url": self.s3.new_bucket(),
            "objects_endpoint": self.s3.url,
            "objects_direct": "workers",
            "database_connections": "8",
        }
        stack.environment = self.s3.environment
        front = free_port()
        stack.front_url = stack.settings["public_url"] = f"http://127.0.0.1:{front}"
        stack.start()
        shared = {name: value for name, value in stack.settings.items() if not name.startswith("native_")}
        self.other = Stack(stack.data_dir.with_name(f"{stack.data_dir.name}-other"), shared | {"fleet": "none"})
        self.other.environment = self.s3.environment
        self.other.start()
        self.balancer = balance(stack.data_dir, front, [stack.port, self.other.port], "/healthz")
        return stack

    def close(self) -> None:
        if self.other is not None:
            self.other.close()
        if self.balancer is not None:
            self.balancer.kill()
            self.balancer.wait()
