"""Whoever has a URL to upload to the object store puts other bytes there, before, while and after they are checked."""

from __future__ import annotations

import hashlib
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import blake3
import httpx2
import pytest

from comfyward.accounts.storage import Quota
from comfyward.dispatch.arrivals import Arrivals
from comfyward.dispatch.blobs import Blobs
from comfyward.dispatch.quotas import Quotas
from comfyward.errors import DigestMismatch, InvalidRequest
from comfyward.files.objects import Blob, Objects, blob_key, response_headers
from comfyward.runs.files import Url, key_of
from comfyward.store.db import now_ms
from tests.attacks.raw_worker import RawWorker, graph_of, token_for
from tests.servers import S3, signed_s3
from tests.stack.stack import Stack
from tests.store.conftest import Store, sqlite_with_tables, store

__all__ = ["sqlite_with_tables", "store"]

TRUE, OTHER = b"what the node made", b"what came later..."
PATH = "/models/checkpoints/model.safetensors"


@pytest.fixture(scope="module")
def s3_server() -> Iterator[S3]:
    with signed_s3() as (running, _):
        yield running


def put(url: str, data: bytes, headers: dict[str, str]) -> int:
    request = urllib.request.Request(url, data, headers, method="PUT")
    with urllib.request.urlopen(request) as answer:
        return int(answer.status)


def blob_of(data: bytes, name: str = "film.mp4") -> Blob:
    return Blob(blake3.blake3(data).hexdigest(), hashlib.sha256(data).hexdigest(), len(data), name)


# A server and a worker of the operator's own, over HTTP.


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory, s3_server: S3) -> Iterator[RawWorker]:
    """Has a token for any pool, and a session, at a server whose objects are in S3."""
    keep = {"objects_url": s3_server.new_bucket(), "objects_endpoint": s3_server.url, "objects_direct": "all"}
    rest = {
        "fleet": "none",
        "accelerators": "L4",
        "mirror_models": "true",
        "editor": "false",
        "fetch_allow": "127.0.0.1",
    }
    stack = Stack(tmp_path_factory.mktemp("s3") / "server", {**keep, **rest}, s3_server.environment)
    try:
        stack.start()
        yield RawWorker(stack, token_for(stack, None), secret="of its session").joined()
    finally:
        stack.close()


@dataclass
class Sent:
    """An upload of a worker, and where it went."""

    place: dict[str, Any]

    def put(self, data: bytes, **headers: str) -> None:
        assert put(self.place["url"], data, {**self.place["headers"], **headers}) == 200


def offered(worker: RawWorker, path: str, lease: str, offer: dict[str, Any]) -> Sent:
    answer = worker.call("POST", path, lease, json={**offer, "asks_again": True})
    assert answer.status_code == 200, answer.text
    return Sent(answer.json())


def test_an_output_stays_what_it_was_when_its_url_is_used_again(worker: RawWorker) -> None:
    client = worker.stack.client()
    run_id = client.submit(graph_of())
    lease, blob = worker.assigned()["lease"], blob_of(TRUE)
    offer = {"name": blob.name, "size": blob.size, "sha256": blob.sha256}
    sent = offered(worker, f"outputs/{blob.digest}", lease, offer)
    sent.put(TRUE)
    assert worker.call("POST", f"outputs/{blob.digest}/stored", lease, json=offer).status_code == 204
    output = {"name": blob.name, "digest": blob.digest, "size": blob.size, "content_type": "video/mp4"}
    assert worker.end(lease, outputs=[output]).status_code == 204
    url = client.finish(run_id)["output"][0]["url"]
    assert read(client.http, url) == TRUE

    sent.put(OTHER)
    assert worker.call("POST", f"outputs/{blob.digest}/stored", lease, json=offer).status_code == 409  # its run is over

    assert read(client.http, url) == TRUE


def test_a_model_stays_what_it_was_when_its_url_is_used_again(worker: RawWorker) -> None:
    url, blob = "http://127.0.0.1:9/model.safetensors", blob_of(TRUE + b"!", "model.safetensors")
    key, lease = key_of(Url(url)), assigned(worker, url)["lease"]
    offer = {"digest": blob.digest, "sha256": blob.sha256, "size": blob.size, "name": blob.name}
    sent = offered(worker, f"mirrors/{key}", lease, offer)
    sent.put(TRUE + b"!")
    permit = {"X-Comfyward-Mirror": sent.place["permit"]}
    assert worker.call("POST", f"mirrors/{key}/stored", json=offer, headers=permit).status_code == 204
    assert worker.end(lease).status_code == 204

    sent.put(OTHER + b"!")
    assert worker.call("POST", f"mirrors/{key}/stored", json=offer, headers=permit).status_code == 204  # again

    order = assigned(worker, url)
    assert order["files"][0]["mirror"] == blob.digest
    found = worker.call("GET", f"blobs/{blob.digest}", order["lease"])
    assert read_from(found) == TRUE + b"!"
    assert worker.end(order["lease"]).status_code == 204


def test_a_worker_that_would_not_ask_again_sends_to_the_server(worker: RawWorker) -> None:
    worker.stack.client().submit(graph_of())
    lease, blob = worker.assigned()["lease"], blob_of(TRUE + b"?")
    offer = {"name": blob.name, "size": blob.size, "sha256": blob.sha256}

    assert "url" not in worker.call("POST", f"outputs/{blob.digest}", lease, json=offer).json()

    assert worker.end(lease).status_code == 204


def assigned(worker: RawWorker, url: str) -> dict[str, Any]:
    worker.stack.client().submit(graph_of(), files={PATH: url})
    return worker.assigned()


def read(http: httpx2.Client, url: str) -> bytes:
    """The bytes that a reader gets, from the object store itself."""
    return read_from(http.get(url, follow_redirects=False))


def read_from(answer: httpx2.Response) -> bytes:
    assert answer.status_code == 307, answer.text
    with urllib.request.urlopen(answer.headers["location"]) as found:
        return bytes(found.read())


# The same at the store, where the moments between two steps can be chosen.


@pytest.fixture
def objects(s3_server: S3, monkeypatch: pytest.MonkeyPatch) -> Objects:
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return Objects(s3_server.new_bucket(), s3_server.url)


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/test.db"


def blobs_in(objects: Objects, store: Store) -> Blobs:
    return Blobs(store.db, objects, Quotas(store.db, Quota()))


async def test_what_was_announced_becomes_a_blob_and_nothing_else_is_left(
    s3_server: S3, objects: Objects, store: Store
) -> None:
    blobs, blob = blobs_in(objects, store), blob_of(TRUE)
    arrivals = Arrivals(objects, blobs)
    with pytest.raises(InvalidRequest, match="is not stored"):
        await arrivals.register("a", blob)

    assert put(await url_of(arrivals, "a", blob), TRUE, response_headers(blob.name)) == 200
    assert not await objects.has(blob_key(blob.digest))
    await arrivals.register("a", blob)

    assert await blobs.touch(blob.digest)
    assert s3_server.keys(objects._url) == [blob_key(blob.digest)]


async def test_other_bytes_than_were_announced_become_no_blob(s3_server: S3, objects: Objects, store: Store) -> None:
    blobs, blob = blobs_in(objects, store), blob_of(TRUE)
    arrivals = Arrivals(objects, blobs)
    assert put(await url_of(arrivals, "a", blob), OTHER, response_headers(blob.name)) == 200

    with pytest.raises(DigestMismatch):
        await arrivals.register("a", blob)

    assert not await blobs.touch(blob.digest)
    assert s3_server.keys(objects._url) == []


class Replaced(Objects):
    """A store in which the sender puts other bytes to its URL as soon as the server reads, or has hashed, what came."""

    url = ""

    async def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        put(self.url, OTHER, response_headers("film.mp4"))
        return self._then_again(await super().read(key, start, end))

    async def _then_again(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for piece in pieces:
            yield piece
        put(self.url, OTHER, response_headers("film.mp4"))


async def test_bytes_that_are_replaced_while_they_are_checked_change_nothing(
    s3_server: S3, objects: Objects, store: Store
) -> None:
    replaced, blob = Replaced(objects._url, s3_server.url), blob_of(TRUE)
    arrivals = Arrivals(replaced, blobs_in(replaced, store))
    replaced.url = await url_of(arrivals, "a", blob)
    assert put(replaced.url, TRUE, response_headers(blob.name)) == 200

    await arrivals.register("a", blob)

    assert await objects.read_all(blob_key(blob.digest)) == TRUE


async def test_another_sender_cannot_spoil_an_upload(objects: Objects, store: Store) -> None:
    blobs, blob = blobs_in(objects, store), blob_of(TRUE)
    arrivals = Arrivals(objects, blobs)
    assert put(await url_of(arrivals, "a", blob), TRUE, response_headers(blob.name)) == 200
    assert put(await url_of(arrivals, "b", blob), OTHER, response_headers(blob.name)) == 200

    with pytest.raises(DigestMismatch):
        await arrivals.register("b", blob)
    await arrivals.register("a", blob)

    assert await objects.read_all(blob_key(blob.digest)) == TRUE


HEADERS = [
    {"Content-Type": "text/html"},
    {"Content-Encoding": "gzip"},
    {"Content-Disposition": "inline"},
    {"Cache-Control": "public, max-age=31536000"},
]


@pytest.mark.parametrize("chosen", HEADERS, ids=lambda chosen: next(iter(chosen)))
async def test_headers_that_a_sender_chose_reach_no_reader(
    objects: Objects, store: Store, chosen: dict[str, str]
) -> None:
    blobs, blob = blobs_in(objects, store), blob_of(TRUE)
    arrivals = Arrivals(objects, blobs)
    told = response_headers(blob.name)
    assert put(await url_of(arrivals, "a", blob), TRUE, {**told, **chosen}) == 200

    await arrivals.register("a", blob)

    url = await objects.get_url(blob_key(blob.digest))
    assert url is not None
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == TRUE
        assert {name: answer.headers[name] for name in told} == told
        assert not {name for name in chosen if name not in told and name in answer.headers}


async def test_what_nobody_registers_is_swept(s3_server: S3, objects: Objects, store: Store) -> None:
    blobs = blobs_in(objects, store)
    arrivals, kept = Arrivals(objects, blobs), await blobs.put_bytes(b"kept", "a.txt")
    for sender in ("a", "b"):
        assert put(await url_of(arrivals, sender, blob_of(TRUE)), TRUE, {}) == 200

    assert await arrivals.sweep(before=now_ms() - 60_000) == 0
    assert await arrivals.sweep(before=now_ms() + 60_000) == 2

    assert s3_server.keys(objects._url) == [blob_key(kept.digest)]


async def url_of(arrivals: Arrivals, sender: str, blob: Blob) -> str:
    url = await arrivals.url(sender, blob)
    assert url is not None
    return url
