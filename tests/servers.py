"""Servers that an installation on several machines needs, started here for tests: PostgreSQL, an S3 server."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import psycopg
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from moto.server import DomainDispatcherApplication, ThreadedMotoServer, create_backend_app
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

from comfyward.environments.finding.map_files import MapFiles
from comfyward.errors import SetupFailed
from comfyward.store.backends import open_database

MEMORY_BYTES = 4 << 30
PORTS = (20_000, 32_000)  # below those of outgoing connections, and above those that Ray takes by itself
WITH_PASSWORD = "with_password"  # a role that has to say one


@dataclass
class Postgres:
    """A cluster of Debian's PostgreSQL in a folder of its own, trusting this machine.

    It outlives its processes, not the machine: nothing here waits for a disk.
    """

    folder: Path
    port: int
    binaries: Path
    _template: str | None = field(default=None)

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}"

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder}"
        options += " -c fsync=off -c dynamic_shared_memory_type=mmap"  # nothing is left when it is killed
        self._run("pg_ctl", "-D", self.data, "-w", "-l", self.folder / "log", "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "-D", self.data, "-w", "-m", mode, "stop")

    def kill(self) -> None:
        """As a power cut would."""
        os.kill(int((self.data / "postmaster.pid").read_text().split()[0]), signal.SIGQUIT)

    def new_database(self, *, like: str | None = None) -> str:
        """The URL of a new database, empty or a copy of another."""
        name = f"test_{uuid.uuid4().hex}"
        self.execute(f"CREATE DATABASE {name}" + (f" TEMPLATE {like}" if like else ""))
        return f"{self.url}/{name}"

    def new_database_with_tables(self) -> str:
        """As `new_database`; the tables are made once and copied."""
        if self._template is None:
            url = self.new_database()
            open_database(url, 4).close()
            self._template = url.rpartition("/")[2]
        return self.new_database(like=self._template)

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def execute(self, statement: str) -> None:
        with psycopg.connect(f"{self.url}/postgres", autocommit=True) as conn:
            conn.execute(statement)  # type: ignore[call-overload]

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def _run(self, program: str, *arguments: str | Path) -> None:
        command = [str(self.binaries / program), *map(str, arguments)]
        if os.getuid() == 0:
            command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]
        # The postmaster must not hold our pipes.
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd="/tmp")


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A running cluster, made anew."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    assert found, "PostgreSQL is not installed: apt-get install postgresql (scripts/test does it)"
    folder = Path(tempfile.mkdtemp(prefix="comfyward-postgres-", dir=_memory()))
    server = Postgres(folder, free_port(), found[-1])
    if os.getuid() == 0:
        owner = pwd.getpwnam("postgres")
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    server._run(
        "initdb", "-D", server.data, "-N", "-A", "trust", "-U", "postgres", "--encoding=UTF8", "--locale=C.UTF-8"
    )
    rules = server.data / "pg_hba.conf"
    rules.write_text(f"host all {WITH_PASSWORD} 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
    server.start()
    server.execute(f"CREATE ROLE {WITH_PASSWORD} LOGIN PASSWORD 'right'")
    try:
        yield server
    finally:
        server.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


def _memory() -> Path | None:
    """A folder in memory, where there is room for hundreds of databases of a thousand files each."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() and shutil.disk_usage(memory).free > MEMORY_BYTES else None


@functools.cache
def sqlite_with_tables() -> Path:
    """A file of SQLite whose tables are made once, to be copied."""
    folder = tempfile.TemporaryDirectory(prefix="comfyward-tables-")
    atexit.register(folder.cleanup)
    path = Path(folder.name) / "empty.db"
    open_database(f"sqlite:///{path}").close()
    return path


@functools.cache
def node_map() -> Path | None:
    """ComfyUI-Manager's map of node classes, fetched once, to be linked to; None if it cannot be had."""
    folder = tempfile.TemporaryDirectory(prefix="comfyward-map-")
    atexit.register(folder.cleanup)
    files = MapFiles(Path(folder.name))
    with contextlib.suppress(SetupFailed):
        files.fetch()
    return files.folder if files.folder.is_dir() else None


_given: set[int] = set()


def free_port() -> int:
    """A port that stays free while its server is down: the system gives these to nobody, and no other process of the
    tests does. None is given twice."""
    while True:
        port = random.SystemRandom().choice(_own_ports())
        if port in _given:
            continue
        _given.add(port)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def _own_ports() -> range:
    """Those of this process, of all that run the tests side by side."""
    number = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    return range(PORTS[0] + int(number), PORTS[1], int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))


@dataclass(frozen=True)
class S3:
    """A server that speaks S3, in this process."""

    url: str
    secret: str = "test"

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables with which a server reaches it, beside the bucket."""
        return {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": self.secret, "AWS_REGION": "us-east-1"}

    def new_bucket(self) -> str:
        """The URL of a new bucket, with a prefix."""
        name = f"test-{uuid.uuid4().hex[:12]}"
        self.client.create_bucket(Bucket=name)
        return f"s3://{name}/comfyward"

    def keys(self, bucket_url: str) -> list[str]:
        """The names of what a bucket holds below its prefix."""
        bucket, _, prefix = bucket_url.removeprefix("s3://").partition("/")
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        found = [item["Key"] for page in pages for item in page.get("Contents", ())]
        return [key.removeprefix(f"{prefix}/") for key in found]

    @property
    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id="test",
            aws_secret_access_key=self.secret,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}),
        )


@contextmanager
def s3() -> Iterator[S3]:
    """moto's server: it knows multipart, ranges and presigned URLs, and takes any signature."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield S3(f"http://{host}:{port}")
    finally:
        server.stop()


SECRET = "right"


class SignedRequestsOnly:
    """A WSGI application before moto's that lets only correctly signed requests of one key through, as S3 does.

    moto's own access control knows no presigned URLs. botocore computes the signatures here, and obstore in what is
    tested: they share nothing. The clock of the server is `ahead_s` seconds ahead.
    """

    def __init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self.ahead_s = 0.0

    def __call__(self, environ: Any, start_response: Any) -> Any:
        request = Request(environ)
        is_valid = self._is_valid(request)
        refused = Response("<Error><Code>SignatureDoesNotMatch</Code></Error>", 403, content_type="application/xml")
        return (self._moto if is_valid else refused)(environ, start_response)

    def _is_valid(self, request: Request) -> bool:
        if "X-Amz-Signature" in request.args:
            return self._is_timely(request) and self._is_signed(request, S3SigV4QueryAuth, dict(request.args))
        scheme, _, fields = request.headers.get("Authorization", "").partition(" ")
        named = dict(field.strip().split("=", 1) for field in fields.split(",") if "=" in field)
        named = {f"X-Amz-{name}": value for name, value in named.items()}
        named["X-Amz-Date"] = request.headers.get("X-Amz-Date", "")
        return scheme == "AWS4-HMAC-SHA256" and self._is_signed(request, S3SigV4Auth, named)

    def _is_signed(self, request: Request, kind: Any, named: dict[str, str]) -> bool:
        key, _, region, service, _ = named["X-Amz-Credential"].split("/")
        names = named["X-Amz-SignedHeaders"].split(";")
        auth = kind(Credentials(key, SECRET), service, region)
        path = request.environ["RAW_URI"].replace(f"&X-Amz-Signature={named['X-Amz-Signature']}", "")
        headers = {name: request.headers[name] for name in names if name in request.headers}
        signed = AWSRequest(request.method, f"http://{request.host}{path}", headers)
        signed.context["timestamp"] = named["X-Amz-Date"]
        text = auth.string_to_sign(signed, auth.canonical_request(signed))
        return bool(key == "test" and auth.signature(text, signed) == named["X-Amz-Signature"])

    def _is_timely(self, request: Request) -> bool:
        signed_at = datetime.strptime(request.args["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        age = datetime.now(UTC) + timedelta(seconds=self.ahead_s) - signed_at
        return age <= timedelta(seconds=int(request.args["X-Amz-Expires"]))


@contextmanager
def signed_s3() -> Iterator[tuple[S3, SignedRequestsOnly]]:
    """As `s3`, but signatures are checked; the secret is SECRET."""
    application = SignedRequestsOnly()
    server = make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield S3(f"http://127.0.0.1:{server.server_port}", SECRET), application
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
