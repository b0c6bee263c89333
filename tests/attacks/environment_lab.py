"""Environments without files, and workers played by hand that say what they have of them."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import blake3
from sqlalchemy import Connection, insert

from comfyward.environments.lock import Lock, LockedComfyUI, LockedPack, lock_json
from comfyward.environments.web_files import WebFile, packed
from comfyward.ids import new_secret
from comfyward.store import environments, tokens
from comfyward.store.db import now_ms
from comfyward.store.environments import StoredLock
from comfyward.store.schema import environment_locks
from tests.attacks.raw_worker import RawWorker, catalog_of, graph_of
from tests.stack.stack import Client, Stack

SPEC = 'comfyui = "0.30.0"\n'
_numbers = itertools.count()


@dataclass
class Lab:
    """Environments and workers of one target and pool, which no other lab has."""

    stack: Stack
    name: str = field(default_factory=lambda: f"lab{next(_numbers)}")
    client: Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = self.stack.client()

    @property
    def target(self) -> str:
        return f"{self.name}/py3.11"

    def revision(
        self,
        tree: str,
        environment: str = "",
        packs: Mapping[str, bool] | None = None,
        *,
        spec: str = SPEC,
        locked: Sequence[LockedPack] = (),
        **more: Any,
    ) -> str:
        """Locks the next revision of an environment. Returns its digest. `packs`: are their scripts allowed?"""
        name = environment or self.name
        of_registry = (LockedPack(pack, f"cnr:{pack}@1", "1" * 64, web=web) for pack, web in (packs or {}).items())
        comfyui = LockedComfyUI("0.30.0", "0.30.0", f"{name} {tree}")
        lock = Lock(self.target, comfyui, (*of_registry, *locked), **{"packages": (), **more})

        def added(conn: Connection) -> str:
            if name not in {each.name for each in environments.find(conn)}:
                environments.create(conn, name, spec, now_ms())
            environments.add_revision(conn, name, spec, StoredLock(self.target, lock.digest, lock_json(lock)), now_ms())
            return lock.digest

        return self.stack.write(added)

    def also_locked(self, target: str) -> str:
        """Locks the newest revision for another target too. Returns the digest."""
        lock = Lock(target, LockedComfyUI("0.3.75", "0.3.75", f"{self.name} {target}"), (), ())

        def added(conn: Connection) -> str:
            found = environments.get(conn, self.name)
            row = {"target": target, "digest": lock.digest, "lock": lock_json(lock)}
            conn.execute(insert(environment_locks).values(environment_id=found.id, number=found.newest, **row))
            return lock.digest

        return self.stack.write(added)

    def worker(
        self, *ready: str, pool: str = "", of: str | None = None, made_by: str | None = None, **about: Any
    ) -> RawWorker:
        """A worker that has joined, with a token for any pool unless it is given, and some environments ready."""

        def made(conn: Connection) -> str:
            return tokens.create(conn, f"{self.name} {next(_numbers)}", now_ms(), pool=of, made_by=made_by)

        worker = RawWorker(self.stack, self.stack.write(made), pool or self.name, secret=new_secret())
        about = {"target": self.target, "ready": list(ready), **about}
        assert worker.hello(catalog_of("Paint"), **about).status_code == 200
        assert worker.put_catalog(catalog_of("Paint")).status_code == 204
        return worker

    def has_ready(self, worker: RawWorker, digest: str, *classes: str, catalog: bytes = b"") -> None:
        """The worker has built and tried an environment that has these classes, or this catalog."""
        assert worker.put_catalog(catalog or catalog_of(*classes), digest).status_code == 204
        assert self.tried(worker, digest, ready=True).status_code == 204
        assert report(worker, digest, "ready").status_code == 200

    def promoted(self, packs: Mapping[str, bool], files: Mapping[str, str]) -> str:
        """A revision that is current, whose packs bring these files: by `pack/path`. Returns its digest."""
        digest, worker = self.revision("1", packs=packs), self.worker()
        self.has_ready(worker, digest, "Paint")
        assert bring(worker, digest, files).status_code == 204
        assert self.post("promote").status_code == 200
        return digest

    def tried(self, worker: RawWorker, digest: str, **trial: Any) -> Any:
        return worker.call("PUT", f"environments/{digest}/trial", json=trial)

    def post(self, action: str, client: Client | None = None, environment: str = "", **body: Any) -> Any:
        who, name = client or self.client, environment or self.name
        return who.http.post(f"/api/v1/environments/{name}/{action}", json=body)

    def shown(self, environment: str = "") -> dict[str, Any]:
        return dict(self.client.http.get(f"/api/v1/environments/{environment or self.name}").json())

    def submit(self, environment: str, class_type: str = "Paint", **more: Any) -> Any:
        """The answer to a run that is submitted to a workflow of an environment."""
        body = {"prompt": graph_of(class_type), "accelerator": self.name, **more}
        return self.client.post_run(body, self.workflow(environment))

    def workflow(self, environment: str) -> str:
        answer = self.client.http.post("/api/v1/workflows", json={"name": "w", "environment": environment})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])


@contextmanager
def staying(worker: RawWorker) -> Iterator[None]:
    """Keeps a worker present for as long as it takes."""
    over = threading.Event()

    def beat() -> None:
        while not over.is_set():
            worker.heartbeat(wait_s=1)

    with ThreadPoolExecutor(1) as pool:
        beating = pool.submit(beat)
        try:
            yield
        finally:
            over.set()
            beating.result()


def archive_of(files: Mapping[str, str]) -> bytes:
    """An archive of files in web folders, by `pack/path`, and of answers of routes, by `pack /route`."""
    return packed(map(_web_file, files, files.values()))


def _web_file(name: str, text: str) -> WebFile:
    pack, _, route = name.partition(" /")
    if route:
        return WebFile(f"/{route}", pack, text.encode(), "application/json")
    return WebFile(f"/extensions/{name}", name.partition("/")[0], text.encode())


def bring(worker: RawWorker, digest: str, files: Mapping[str, str]) -> Any:
    """The answer to a worker that sends what packs of an environment bring for the editor."""
    archive = archive_of(files)
    return worker.call("PUT", f"environments/{digest}/web/{blake3.blake3(archive).hexdigest()}", content=archive)


def report(worker: RawWorker, digest: str, state: str, wait_s: float = 0, **more: Any) -> Any:
    return worker.heartbeat(environments=[{"digest": digest, "state": state, **more}], wait_s=wait_s)


def orders(worker: RawWorker, wait_s: float = 0) -> list[str]:
    """The environments that the worker is asked for."""
    return list(worker.heartbeat(wait_s=wait_s).json().get("environments", []))
