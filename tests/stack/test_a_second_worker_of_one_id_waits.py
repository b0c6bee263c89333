"""Two machines are started with one id and one token, by mistake or not: the second waits for the first's end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import FakeSettings
from tests.stack.cluster import Worker
from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save
from tests.stack.stack import Stack
from tests.stack.waiting import until


@pytest.fixture
def stack(start_fake: StartFake) -> Stack:
    return start_fake(fleet="none", accelerators="L4", lease_s="6")  # a busy machine is silent for less


@pytest.fixture
def two(stack: Stack, fake_settings: FakeSettings, tmp_path: Path) -> Iterator[tuple[Worker, Worker]]:
    token = stack.cli("tokens", "create", "gpu-box").strip()
    both = [Worker("box", stack.url, token, tmp_path / name, fake_settings()) for name in ("first", "second")]
    yield both[0], both[1]
    for worker in both:
        worker.close()


def test_the_second_waits_for_the_end_of_the_first(stack: Stack, two: tuple[Worker, Worker]) -> None:
    client, (first, second) = stack.client(), two
    first.start()
    assert client.finish(client.submit(fake_save("a"), accelerator="L4"))["status"] == "COMPLETED"

    second.start()
    _wait_for(second, "is in use by another process with this token")

    assert client.finish(client.submit(fake_save("b"), accelerator="L4"))["status"] == "COMPLETED"
    assert "serves pool" not in _log(second)
    first.close()  # killed: nobody says goodbye
    assert client.finish(client.submit(fake_save("c"), accelerator="L4"))["status"] == "COMPLETED"
    assert "worker box serves pool L4" in _log(second)


def _log(worker: Worker) -> str:
    return (worker.data_dir / "worker.log").read_text()


def _wait_for(worker: Worker, text: str) -> None:
    until(lambda log: text in log, lambda: _log(worker))
