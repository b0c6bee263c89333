"""Files are replaced or deleted while runs wait with them, staged or queued: each run has the bytes that it named, and
an account that has a file of the same name has its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.http import Origin
from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_wait, node
from tests.stack.stack import Client, Stack

MODEL, INPUT = "/models/loras/swapped.txt", "/input/swapped.txt"
BACK = "/models/loras/back.pt"
READ_BACK = {"1": node("FakeSave", text="../models/loras/back.pt")}
READ_MODEL = {"1": node("FakeSave", text="../models/loras/swapped.txt")}
READ_INPUT = {"1": node("FakeCopy", file="swapped.txt")}


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    """A server with one worker, so that runs of everybody wait for each other."""
    return start_fake_once().wait_ready()


@pytest.fixture
def busy(stack: Stack) -> Iterator[tuple[Client, str]]:
    """A run that has the only GPU, until it is cancelled."""
    owner = stack.client("busy")
    run_id = owner.submit(fake_wait(3600))
    owner.wait_for(run_id, "status", state="running")
    yield owner, run_id
    owner.cancel(run_id)


def upload(client: Client, path: str, data: bytes) -> None:
    sent = client.http.post("/api/v1/files", params={"path": path}, content=data)
    assert sent.status_code == 201, sent.text


def read_by(client: Client, run_id: str) -> bytes:
    run = client.finish(run_id)
    assert run["status"] == "COMPLETED", run
    (output,) = run["output"]
    return client.http.get(output["url"]).content


def test_while_they_are_staged(stack: Stack, busy: tuple[Client, str], site: Origin) -> None:
    ada, ben = stack.client("ada"), stack.client("ben")
    upload(ada, INPUT, b"input of ada")
    runs = [ada.submit(READ_MODEL, files={MODEL: site.put("/model", b"model of ada")}), ada.submit(READ_INPUT)]
    ada.wait_for(runs[0], "staged")  # the other one waits in the queue

    site.put("/model", b"swapped at its host")
    upload(ada, INPUT, b"swapped")
    upload(ben, INPUT, b"input of ben")
    of_ben = ben.submit(READ_INPUT)
    assert ada.http.delete("/api/v1/files", params={"path": INPUT}).status_code == 204
    owner, waiting = busy
    owner.cancel(waiting)

    assert [read_by(ada, run_id) for run_id in runs] == [b"model of ada", b"input of ada"]
    assert read_by(ben, of_ben) == b"input of ben"
    assert ada.run(READ_INPUT)["status"] == "ERROR", "it is deleted, and ben's is not ada's"


def test_a_model_is_deleted_replaced_and_brought_back(stack: Stack, busy: tuple[Client, str], site: Origin) -> None:
    """All of it while runs wait with it; another account that knows the deletion's id brings back nothing."""
    ada, ben = stack.client("ada deletes"), stack.client("ben replaces")
    library, brought = f"/api/v1{BACK}", {BACK: site.put("/back", b"first of ada")}
    waiting = [ada.submit(READ_BACK, files=brought) for _ in range(2)]
    ada.wait_for(waiting[0], "staged")

    deleted = ada.http.delete(library, params={"confirm": True}).json()["id"]
    upload(ben, BACK, b"of ben")
    assert ben.http.post("/api/v1/models/restore", json={"id": deleted}).status_code == 404
    upload(ada, BACK, b"second of ada")
    assert ada.http.post("/api/v1/models/restore", json={"id": deleted}).status_code == 409
    assert ada.http.delete(library, params={"confirm": True}).status_code == 200
    assert ada.http.post("/api/v1/models/restore", json={"id": deleted}).json() == {"path": BACK}
    owner, running = busy
    owner.cancel(running)

    assert [read_by(ada, run_id) for run_id in waiting] == [b"first of ada"] * 2
    assert [client.http.get(library).json()["origin"] for client in (ada, ben)] == ["link", "own"]
