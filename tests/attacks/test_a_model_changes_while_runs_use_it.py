"""Files are replaced or deleted while runs wait with them at a worker: each run has the bytes that it named, and an
account that has a file of the same name has its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_wait, node
from tests.stack.stack import Client, Stack

MODEL, INPUT = "/models/loras/swapped.txt", "/input/swapped.txt"
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


def upload(client: Client, path: str, data: bytes) -> str:
    sent = client.http.post("/api/v1/files", params={"path": path}, content=data)
    assert sent.status_code == 201, sent.text
    return str(sent.json()["url"])


def read_by(client: Client, run_id: str) -> bytes:
    run = client.finish(run_id)
    assert run["status"] == "COMPLETED", run
    (output,) = run["output"]
    return client.http.get(output["url"]).content


def test_while_they_are_staged(stack: Stack, busy: tuple[Client, str]) -> None:
    ada, ben = stack.client("ada"), stack.client("ben")
    model = upload(ada, MODEL, b"model of ada")
    upload(ada, INPUT, b"input of ada")
    runs = [ada.submit(READ_MODEL, files={MODEL: model}), ada.submit(READ_INPUT)]
    ada.wait_for(runs[0], "staged")

    for path in (MODEL, INPUT):
        upload(ada, path, b"swapped")
        upload(ben, path, b"of ben")
    of_ben = ben.submit(READ_INPUT)
    for path in (MODEL, INPUT):
        assert ada.http.delete("/api/v1/files", params={"path": path}).status_code == 204
    owner, waiting = busy
    owner.cancel(waiting)

    assert [read_by(ada, run_id) for run_id in runs] == [b"model of ada", b"input of ada"]
    assert read_by(ben, of_ben) == b"of ben"
    assert ada.post_run({"prompt": READ_INPUT}).status_code >= 400, "it is deleted, and ben's is not ada's"
