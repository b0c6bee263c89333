"""A worker may read the models that are pinned to it, without a run; no other worker may, and nothing else."""

from __future__ import annotations

import os

import blake3
import pytest

from tests.attacks.raw_worker import RawWorker, worker_of
from tests.stack.conftest import StartFake
from tests.stack.stack import Stack
from tests.stack.waiting import until

VITALS = {"model_memory_bytes": 1 << 30}
MODEL, OTHER = os.urandom(1 << 20), os.urandom(1 << 20)


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once(fleet="none", accelerators="L4,T4")


def joined(stack: Stack, pool: str) -> RawWorker:
    """A worker whose host keeps models in memory."""
    worker = worker_of(stack, pool).joined()
    assert worker.heartbeat(vitals=VITALS).status_code == 200
    return worker


def pinned(
    worker: RawWorker, data: bytes, *, incarnation: str | None = None, id: str | None = None
) -> tuple[int, bytes]:
    """The answer to a worker, which is alive, that asks for a model by its digest."""
    worker.heartbeat(vitals=VITALS)
    path = f"pinned/{id or worker.id}/{incarnation or worker.incarnation}/{blake3.blake3(data).hexdigest()}"
    answer = worker.call("GET", path)
    return answer.status_code, answer.content


def test_only_what_is_pinned_to_the_worker_that_asks(stack: Stack) -> None:
    admin, owner, other = stack.client(), joined(stack, "L4"), joined(stack, "T4")
    for name, data in (("kept.pt", MODEL), ("other.pt", OTHER)):
        sent = admin.http.post("/api/v1/files", params={"path": f"/models/checkpoints/{name}"}, content=data)
        sent.raise_for_status()
    wanted = {"model": "checkpoints/kept.pt", "accelerator": "L4"}
    (pin,) = admin.http.post("/api/v1/model-pins", json=wanted).raise_for_status().json()

    assert until(lambda answer: answer[0] != 404, lambda: pinned(owner, MODEL)) == (200, MODEL)

    assert pinned(owner, OTHER)[0] == 404  # a file of the same admin
    assert pinned(other, MODEL)[0] == 404  # a worker of another pool
    assert pinned(other, MODEL, id=owner.id, incarnation=owner.incarnation)[0] == 403  # under the owner's name
    assert pinned(owner, MODEL, incarnation="earlier")[0] == 409
    admin.http.delete(f"/api/v1/model-pins/{pin['id']}").raise_for_status()
    assert until(lambda answer: answer[0] != 200, lambda: pinned(owner, MODEL))[0] == 404


def test_a_pin_is_of_the_bytes_that_were_there(stack: Stack) -> None:
    """Whatever stands at its path later, of whichever account; and it outlives a deletion that is undone."""
    admin, other, worker = stack.client(), stack.client("has the same name"), joined(stack, "L4")
    path, first, later, theirs = "/models/checkpoints/changing.pt", *(os.urandom(1000) for _ in range(3))
    admin.http.post("/api/v1/files", params={"path": path}, content=first).raise_for_status()
    admin.http.post(
        "/api/v1/model-pins", json={"model": "checkpoints/changing.pt", "accelerator": "L4", "workers": 2}
    ).raise_for_status()
    assert until(lambda answer: answer[0] != 404, lambda: pinned(worker, first)) == (200, first)

    deleted = admin.http.delete(f"/api/v1{path}", params={"confirm": True}).raise_for_status().json()["id"]
    for client, data in ((admin, later), (other, theirs)):
        client.http.post("/api/v1/files", params={"path": path}, content=data).raise_for_status()

    assert pinned(worker, first) == (200, first)
    assert (pinned(worker, later)[0], pinned(worker, theirs)[0]) == (404, 404)
    admin.http.delete(f"/api/v1{path}", params={"confirm": True}).raise_for_status()
    admin.http.post("/api/v1/models/restore", json={"id": deleted}).raise_for_status()
    assert pinned(worker, first) == (200, first)
