"""Processes below this one. Without a process namespace, one that left its group or session must be found to be ended.

A keeper is a subreaper: whatever is left of its child becomes its own child.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Dict, Set


def kill_all() -> None:
    """Kills everything below this process, and returns when nothing is left.

    They are stopped first: what is stopped starts nothing while the others are found.
    """
    seen: Set[int] = set()
    while new := _below(os.getpid()) - seen:
        for pid in new:
            _signal(pid, signal.SIGSTOP)
        seen |= new
    while left := _below(os.getpid()):
        for pid in left:
            _signal(pid, signal.SIGKILL)
        reap()


def reap() -> Set[int]:
    """The ids of children that have ended, which are forgotten by the kernel now."""
    ended: Set[int] = set()
    with contextlib.suppress(ChildProcessError):
        while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
            ended.add(pid)
    return ended


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _below(root: int) -> Set[int]:
    parents: Dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                # The name in parentheses may contain anything; the state and the parent follow it.
                parents[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
    found, size = {root}, 0
    while len(found) > size:
        size = len(found)
        found |= {pid for pid, parent in parents.items() if parent in found}
    return found - {root}
