"""A worker that somebody plays by hand, with nothing but HTTP: it can send what no worker of ours would."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import blake3
import httpx2
import msgspec

from comfyward.ids import new_id
from comfyward.store import tokens
from comfyward.store.db import now_ms
from comfyward.worker.protocol import LEASE_HEADER, MIRROR_HEADER, PROTOCOL, SESSION_HEADER
from tests import loopback
from tests.stack.graphs import node
from tests.stack.stack import Stack


def catalog_of(*classes: str, **more: Any) -> bytes:
    """A catalog with some classes that save a text."""
    described = {"input": {"required": {"text": ["STRING", {}]}}, "output": [], "output_node": True}
    return msgspec.json.encode({"comfyui_version": "1", "nodes": dict.fromkeys(classes, described), **more})


def graph_of(class_type: str = "Paint") -> dict[str, Any]:
    return {"1": node(class_type, text="a lighthouse")}


def token_for(stack: Stack, pool: str | None) -> str:
    """A new token for workers of a pool, or of any."""
    return stack.write(lambda conn: tokens.create(conn, f"for {pool}", now_ms(), pool=pool))


def worker_of(stack: Stack, pool: str, *, of_any: bool = False) -> RawWorker:
    """A worker of a pool that has not joined yet, with a token for this pool alone, or for any."""
    return RawWorker(stack, token_for(stack, None if of_any else pool), pool)


def refusal(answer: httpx2.Response) -> tuple[int, str]:
    """(status, code) of a refusal. For an answer that is none, what it says stands in place of the code."""
    return answer.status_code, answer.json()["code"] if answer.is_error else answer.text


@dataclass
class RawWorker:
    """`id` is its own unless it is given. Without a `secret` it is a worker of an earlier version."""

    stack: Stack
    token: str
    pool: str = "L4"
    id: str = field(default_factory=lambda: f"raw-{new_id()[:8]}")
    incarnation: str = field(default_factory=new_id)
    secret: str = ""

    @property
    def headers(self) -> dict[str, Any]:
        own = {"Authorization": f"Bearer {self.token}"}
        return {**own, SESSION_HEADER: self.secret} if self.secret else own

    def call(self, method: str, path: str, lease: str = "", **how: Any) -> httpx2.Response:
        headers = {**self.headers, LEASE_HEADER: lease, **how.pop("headers", {})}
        return loopback.request(method, f"{self.stack.url}/worker/v1/{path}", headers=headers, timeout=120, **how)

    def goodbye(self) -> httpx2.Response:
        return self.call("POST", "goodbye", json={"worker_id": self.id, "incarnation": self.incarnation})

    def gone(self) -> httpx2.Response:
        """The call of whoever supervises its process."""
        url = f"{self.stack.url}/fleet/v1/gone"
        return loopback.post(url, json={"worker_id": self.id}, headers=self.headers)

    def hello(self, catalog: bytes = b"", **about: Any) -> httpx2.Response:
        names = dict.fromkeys(("device", "host", "sandbox"), "x") | {"environment": "default", "versions": {}}
        worker = {"id": self.id, "incarnation": self.incarnation, "pool": self.pool, **names, **about}
        digest = blake3.blake3(catalog).hexdigest()
        hello = {"worker": worker, "catalog_digest": digest, "protocol": PROTOCOL}
        return self.call("POST", "hello", json=hello)

    def joined(self, catalog: bytes | None = None) -> RawWorker:
        """Itself, after it has joined and sent its catalog."""
        body = catalog_of("Paint") if catalog is None else catalog
        assert self.hello(body).status_code == 200
        assert self.put_catalog(body).status_code == 204
        return self

    def put_catalog(self, body: bytes, environment: str = "default") -> httpx2.Response:
        return self.call("PUT", f"catalog/{environment}/{blake3.blake3(body).hexdigest()}", content=body)

    def ask(self, wait_s: float = 60, **more: Any) -> httpx2.Response:
        about = {"worker_id": self.id, "incarnation": self.incarnation, "idle": True, "warm": [], "holding": []}
        return self.call("POST", "lease", json={**about, "wait_s": wait_s, "heard": True, **more})

    def assigned(self) -> dict[str, Any]:
        """The run that it gets."""
        answer = self.ask()
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def heartbeat(self, *leases: str, wait_s: float = 0, **more: Any) -> httpx2.Response:
        about = {"worker_id": self.id, "incarnation": self.incarnation, "leases": leases, "wait_s": wait_s}
        return self.call("POST", "heartbeat", json={**about, **more})

    def report(self, lease: str, *reports: dict[str, Any]) -> httpx2.Response:
        return self.call("POST", "reports", json={"lease": lease, "reports": reports})

    def end(self, lease: str, **more: Any) -> httpx2.Response:
        ended = {"type": "ended", "seq": 2, "reason": "completed", **more}
        return self.report(lease, {"type": "started", "seq": 1}, ended)

    def offer_mirror(self, key: str, data: bytes, lease: str = "", **claimed: str) -> httpx2.Response:
        return self.call("POST", f"mirrors/{key}", lease, json=_mirror_offer(data, **claimed))

    def store_mirror(self, key: str, data: bytes, permit: str | bytes = "", lease: str = "") -> list[int]:
        """The statuses of sending a model and of registering it."""
        headers, digest = {MIRROR_HEADER: permit}, blake3.blake3(data).hexdigest()
        sent = self.call("PUT", f"mirrors/{key}/{digest}", lease, content=data, headers=headers)
        stored = self.call("POST", f"mirrors/{key}/stored", lease, json=_mirror_offer(data), headers=headers)
        return [sent.status_code, stored.status_code]


def _mirror_offer(data: bytes, **claimed: str) -> dict[str, Any]:
    digests = {"digest": blake3.blake3(data).hexdigest(), "sha256": hashlib.sha256(data).hexdigest()}
    return {**digests, "size": len(data), "name": "model.safetensors", **claimed}
