"""The GPU as its driver sees it: its memory, and the processes that use it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass

MIB = 1 << 20
GIVEN_BACK = 64 * MIB  # a device whose used memory is this near to what it was has been given back
SMI_S = 20.0


class NoAnswer(Exception):
    """nvidia-smi is missing, or does not answer."""


@dataclass(frozen=True)
class Card:
    name: str
    uuid: str
    total_bytes: int
    driver: str


def card() -> Card | None:
    """The first GPU; None if there is none."""
    try:
        rows = _query("gpu", "name,uuid,memory.total,driver_version")
    except NoAnswer:
        return None
    return Card(rows[0][0], rows[0][1], int(rows[0][2]) * MIB, rows[0][3]) if rows else None


def used_bytes() -> int:
    """The memory of the first GPU that anybody uses."""
    return int(_query("gpu", "memory.used")[0][0]) * MIB


def processes() -> set[int]:
    """The processes that have a context on a GPU; in a container the driver may tell of none."""
    return {int(row[0]) for row in _query("compute-apps", "pid") if row[0].isdigit()}


def settled_bytes(before: int, deadline: float) -> int:
    """The used memory once it is back at what it was `before`, which takes a moment, or when the time is up."""
    while (used := used_bytes()) > before + GIVEN_BACK and time.monotonic() < deadline:
        time.sleep(0.1)
    return used


def alive(pids: Iterable[int]) -> set[int]:
    return {pid for pid in pids if os.path.exists(f"/proc/{pid}")}


def _query(of: str, fields: str) -> list[list[str]]:
    command = ["nvidia-smi", f"--query-{of}={fields}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SMI_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise NoAnswer(str(error)) from error
    return [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines() if line.strip()]
