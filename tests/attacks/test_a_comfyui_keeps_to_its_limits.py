"""A ComfyUI whose code is hostile tries to use up the memory, processes, files and disk of its host."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attacks.attacked import LEVELS, Attacked, attacked
from tests.greed import PROCESSES, many_processes

MIB = 1 << 20
LIMITS = {"memory_bytes": 400 * MIB, "file_bytes": 8 * MIB, "open_files": 64, "processes": 40}

ONE_PROCESS = f"""
import errno, os, threading
attempt("memory", lambda: len(bytearray({500 * MIB})))
def sparse():
    with open(base / "output" / "sparse", "wb") as file:
        file.truncate(1 << 44)
attempt("file", sparse)
def written():
    with open(base / "output" / "written", "wb") as file:
        for _ in range(64):
            file.write(bytes({MIB}))
attempt("written", written)
(base / "output" / "written").unlink()
held = []
attempt("descriptors", lambda: [held.append(os.open("/dev/null", os.O_RDONLY)) for _ in range(100)])
for descriptor in held:
    os.close(descriptor)
"""

MEMORY_FILES = f"""
import os
def filled(folder):
    for number in range(16):
        with open(os.path.join(folder, str(number)), "wb") as file:
            file.write(bytes({4 * MIB}))
attempt("/tmp", lambda: filled("/tmp"))
attempt("/dev/shm", lambda: filled("/dev/shm"))
"""

MANY_PROCESSES = many_processes(200)

DISK = f"""
import os, time
for number in range(1000):
    folder = base / ("user", "output", "temp")[number % 3] / str(number)
    os.mkdir(folder)
    with open(folder / "file", "wb") as file:
        file.write(bytes({2 * MIB}))
    time.sleep(0.01)
time.sleep(600)
"""


@pytest.fixture(params=LEVELS, ids=lambda each: "-".join(each))
def worker(request: pytest.FixtureRequest) -> Iterator[Attacked]:
    yield from attacked(*request.param)


@pytest.mark.parametrize("worker", [*LEVELS, ("none", "nobody")], ids="-".join, indirect=True)
def test_one_process_is_refused_more(worker: Attacked) -> None:
    [found] = worker.run(ONE_PROCESS, **LIMITS)

    assert found["memory"] == "refused: MemoryError "
    assert found["file"] == "refused: OSError 27"
    assert found["written"] == "refused: OSError 27"
    assert found["descriptors"] == "refused: OSError 24"


@pytest.mark.parametrize(
    "worker", [each for each in LEVELS if each != ("landlock", "nobody")], ids="-".join, indirect=True
)
def test_processes_are_counted(worker: Attacked) -> None:
    """With neither a namespace nor a user of its own, the limit would count the processes of others, and is not set."""
    [found] = worker.run(PROCESSES, **LIMITS)

    assert found["processes"] == "refused: BlockingIOError 11"
    assert 20 < int(str(found["children"])) < 40


def test_files_in_memory_are_limited(worker: Attacked) -> None:
    [found] = worker.run(MEMORY_FILES, tmp_bytes=16 * MIB, shm_bytes=16 * MIB)

    expected = "refused: OSError 28" if worker.level == "bubblewrap" else "refused: PermissionError 13"
    assert (found["/tmp"], found["/dev/shm"]) == (expected, expected)


@pytest.mark.parametrize("worker", [*LEVELS, ("none", "nobody")], ids="-".join, indirect=True)
def test_the_memory_of_all_processes_is_limited(worker: Attacked) -> None:
    [found] = worker.run(MANY_PROCESSES, memory_bytes=400 * MIB)

    assert found["over_limit"] == "The run used more than 400 MiB of memory."


def test_the_disk_space_of_all_folders_is_limited(worker: Attacked) -> None:
    [found] = worker.run(DISK, disk_bytes=64 * MIB)

    assert found["over_limit"] == "The run used more than 64 MiB of disk space, or left too many files."
