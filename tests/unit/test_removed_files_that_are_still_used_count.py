"""A file that was removed takes its space until nobody has it open or mapped: it counts for who wrote it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from comfyward.comfy.consumption import unlinked_bytes, with_descendants

MIB = 1 << 20
PROCESS = """
import mmap, os, sys
def writes(path):
    file = open(path, "wb")
    file.write(bytes(1 << 20))
    file.flush()
    return file
def maps(path):
    with open(path, "w+b") as file:
        file.write(bytes(1 << 20))
        file.flush()
        return mmap.mmap(file.fileno(), 1 << 20)
def reads(path):
    writes(path).close()
    return open(path, "rb")
def keeps(path):
    return writes(path)
how, folder = sys.argv[1:]
held = [globals()[how](f"{folder}/{number}") for number in range(3)]
if how != "keeps":
    for number in range(3):
        os.unlink(f"{folder}/{number}")
if os.fork() == 0:
    print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], int]]:
    made: list[subprocess.Popen[str]] = []

    def started(how: str) -> int:
        command = [sys.executable, "-c", PROCESS, how, str(tmp_path)]
        made.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert made[-1].stdout is not None
        assert made[-1].stdout.readline() == "ready\n"
        return made[-1].pid

    yield started
    for each in made:
        each.communicate()


@pytest.mark.parametrize(("how", "expected"), [("writes", 3 * MIB), ("maps", 3 * MIB), ("reads", 0), ("keeps", 0)])
def test_how_much_counts(start: Callable[[str], int], tmp_path: Path, how: str, expected: int) -> None:
    assert unlinked_bytes(with_descendants(start(how)), [tmp_path]) == expected


def test_files_on_other_disks_do_not_count(start: Callable[[str], int], tmp_path: Path) -> None:
    assert unlinked_bytes(with_descendants(start("writes")), [Path("/proc")]) == 0
