"""While a run executes, the models of the next are read into memory: the operator's, and those that come with it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from comfyward.files import page_cache
from tests.cold_files import cold, cooled
from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save, fake_wait
from tests.stack.stack import Client, Stack
from tests.stack.waiting import until

SIZE = 4 << 20
OPERATORS, OWN = "operators.safetensors", "mine.pt"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def operators(models: Path) -> Path:
    return cold(models / "checkpoints" / OPERATORS, SIZE)


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake, models: Path, operators: Path) -> Stack:
    return start_fake_once(model_dirs=str(models), model_memory="6MiB").wait_ready()


@contextmanager
def executing(client: Client) -> Iterator[None]:
    """A run executes in the block, from its beginning to its end."""
    run_id = client.submit(fake_wait(200))
    client.wait_for(run_id, "status", state="running")
    yield
    assert client.get(run_id)["status"] == "STARTED"
    client.cancel(run_id)
    client.finish(run_id)


def becomes_whole(file: Path) -> None:
    until(lambda resident: resident == SIZE, lambda: page_cache.resident_bytes(file))


def test_models_are_in_memory_before_their_run_begins_as_far_as_there_is_room(stack: Stack, operators: Path) -> None:
    client = stack.client()
    with executing(client):
        assert page_cache.resident_bytes(cooled(operators)) == 0

        next_one = client.submit(fake_save(OPERATORS))

        becomes_whole(operators)
    assert client.finish(next_one)["status"] == "COMPLETED"

    path = f"/models/checkpoints/{OWN}"
    client.http.post("/api/v1/files", params={"path": path}, content=os.urandom(SIZE)).raise_for_status()
    assert client.run(fake_save(OWN))["status"] == "COMPLETED"
    (blob,) = stack.data_dir.glob("cache/blobs/*/*")
    with executing(client):
        assert page_cache.resident_bytes(cooled(blob)) == 0

        next_one = client.submit(fake_save(OWN))

        becomes_whole(blob)
        assert page_cache.resident_bytes(operators) == 0  # there is room for one of them
    assert client.finish(next_one)["status"] == "COMPLETED"
