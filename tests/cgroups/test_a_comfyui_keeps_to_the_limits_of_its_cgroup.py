"""The kernel limits the memory and the processes of a whole ComfyUI, whichever way it takes them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attacks.attacked import Attacked, attacked
from tests.cgroups.conftest import Service
from tests.greed import PROCESSES, many_processes

MIB = 1 << 20
TOO_MUCH = "The run used more than 200 MiB of memory."
KINDS = [("bubblewrap", "root"), ("bubblewrap", "nobody"), ("none", "root"), ("none", "nobody")]

NOTHING = ""
MANY_PROCESSES = many_processes(100)
FILES_IN_MEMORY = f"""
import os, time
for number in range(100):
    with open(f"/dev/shm/cw-{{number}}", "wb") as file:
        file.write(bytes({4 * MIB}))
time.sleep(600)
"""


@pytest.fixture(params=KINDS, ids="-".join)
def worker(request: pytest.FixtureRequest, service: Service) -> Iterator[Attacked]:
    level, user = request.param
    if user == "nobody":
        request.getfixturevalue("service_of_nobody")
    for found in attacked(level, user):
        yield Attacked(found.level, user, found.folder, cgroups=True)


def test_memory_of_many_processes_ends_it_and_no_other(worker: Attacked, service: Service) -> None:
    before, over, after = worker.run(NOTHING, MANY_PROCESSES, NOTHING, memory_bytes=200 * MIB)

    assert over["over_limit"] == TOO_MUCH
    assert [found for found in (before, after) if "over_limit" in found] == []
    assert service.children == ["comfyward"]


@pytest.mark.parametrize("worker", [("bubblewrap", "nobody")], ids="-".join, indirect=True)
def test_files_in_memory_count(worker: Attacked) -> None:
    [found] = worker.run(FILES_IN_MEMORY, memory_bytes=200 * MIB)

    assert found["over_limit"] == TOO_MUCH


def test_processes_are_counted_at_every_level(worker: Attacked) -> None:
    [found] = worker.run(PROCESSES, processes=40)

    assert found["processes"] == "refused: BlockingIOError 11"
    assert 20 < int(str(found["children"])) < 40
