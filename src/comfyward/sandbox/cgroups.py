"""Cgroups (version 2) of a worker: limits of the kernel on the memory and the processes of a whole ComfyUI.

They can be had where the worker's own cgroup is delegated to it: by systemd (Delegate=yes), or as the root of a
container that may write to its cgroups. In a delegated one, no process may remain beside its children:

    D                  the delegated one
    D/comfyward        the worker, and everything else that was in D
    D/comfyui-6f0c…    one ComfyUI, with everything that it starts
    D/parent-91ab…     one parent, without what it has forked

A worker holds a lock on each of its own, so that those of a killed worker are told from those of its neighbours.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import logging
import os
import re
import secrets
import time
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from comfyward.errors import SetupFailed
from comfyward.sandbox.walls import Limits

log = logging.getLogger(__name__)

LEAF = "comfyward"
COMFYUI, PARENT = "comfyui-", "parent-"
CONTROLLERS = ("memory", "pids")
OPTIONAL = ("memory.swap.max",)  # not there if the kernel counts no swap
NEEDED = ("cgroup.procs", "cgroup.subtree_control")
DELEGATED_BY_SYSTEMD = ("user.delegate", "trusted.delegate")  # attributes of the folder
VACATE_TRIES = 50
SHARE = 0.9  # of the memory of a worker's own cgroup; the rest is for the worker and its parents
END_S, POLL_S = 5.0, 0.01


class NoCgroup(Exception):
    """No cgroup is delegated; the message is the second half of a sentence."""


class Cgroup:
    """One cgroup that this process has made, and the lock on it. One that is dropped without `remove` is a leftover."""

    def __init__(self, folder: Path, locked: int) -> None:
        self.folder = folder
        self._unlock = weakref.finalize(self, os.close, locked)
        self._was_over_memory = False

    @contextlib.contextmanager
    def entrance(self) -> Iterator[int]:
        """A descriptor: a process that writes "0" to it is in the cgroup. It needs no other right."""
        opened = os.open(self.folder / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
        try:
            yield opened
        finally:
            os.close(opened)

    def was_over_memory(self) -> bool:
        """True once the kernel has killed what is in it for using more memory than it may."""
        if not self._was_over_memory:
            with contextlib.suppress(OSError):
                self._was_over_memory = is_over_memory((self.folder / "memory.events").read_text())
        return self._was_over_memory

    def remove(self) -> None:
        """Kills what is in it, and removes it; what takes too long to end is removed later."""
        self.was_over_memory()
        try:
            if not _kill_and_remove(self.folder, END_S):
                log.warning("%s does not end", self.folder, extra={"action": "cgroup_stays"})
        finally:
            self._unlock()


class Cgroups:
    """The cgroups of the ComfyUIs and parents of a worker, in a folder that was delegated to it.

    `limits` are those of each: what is wanted, or less memory, where the folder has less.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        """Moves the processes in `folder` to a leaf, and removes what killed workers left. Raises NoCgroup."""
        self.folder = folder
        try:
            self.limits = limits_within(limits, least_memory(folder))
            with self._lock():
                self._vacate()
                (folder / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in CONTROLLERS))
                self._remove_leftovers(END_S)
        except OSError as error:
            raise NoCgroup(f"{folder} cannot be used: {error.strerror}") from error

    def make(self, kind: str) -> Cgroup:
        """A new cgroup for a COMFYUI, or a PARENT, which has the same limits. Raises SetupFailed."""
        try:
            with self._lock():
                self._remove_leftovers(0)
                return self._made(self.folder / f"{kind}{secrets.token_hex(6)}")
        except OSError as error:
            raise SetupFailed(f"The cgroup of ComfyUI cannot be created: {error}.") from error

    def _made(self, folder: Path) -> Cgroup:
        folder.mkdir()
        locked = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for name, value in limits_of(self.limits).items():
                if name not in OPTIONAL or (folder / name).exists():
                    (folder / name).write_text(value)
        except OSError:
            os.close(locked)
            folder.rmdir()
            raise
        return Cgroup(folder, locked)

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Neighbours wait: a cgroup that is being made is not yet locked, and not a leftover."""
        opened = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(opened, fcntl.LOCK_EX)
            yield
        finally:
            os.close(opened)

    def _vacate(self) -> None:
        """Moves every process in the folder itself to the leaf; some may start others meanwhile."""
        leaf = self.folder / LEAF
        leaf.mkdir(exist_ok=True)
        for _ in range(VACATE_TRIES):
            processes = (self.folder / "cgroup.procs").read_text().split()
            if not processes:
                return
            for pid in processes:
                with contextlib.suppress(ProcessLookupError):
                    (leaf / "cgroup.procs").write_text(pid)
        raise NoCgroup(f"{self.folder} has processes that cannot be moved")

    def _remove_leftovers(self, within_s: float) -> None:
        for name in os.listdir(self.folder):
            if name.startswith((COMFYUI, PARENT)) and _is_left(self.folder / name):
                _kill_and_remove(self.folder / name, within_s)


def delegated() -> Path:
    """The folder of the cgroup that is delegated to this process. Raises NoCgroup."""
    try:
        own, mounted_at = own_folder(*(Path("/proc/self", name).read_text() for name in ("cgroup", "mountinfo")))
        folder = _delegated(own, mounted_at)
        available = (folder / "cgroup.controllers").read_text().split()
    except OSError as error:
        raise NoCgroup(f"cgroups cannot be read: {error.strerror}") from error
    if not all(os.access(path, os.W_OK) for path in (folder, *(folder / name for name in NEEDED))):
        raise NoCgroup(f"{folder} cannot be written to")
    missing = [name for name in CONTROLLERS if name not in available]
    if missing:
        raise NoCgroup(f"{folder} has no controller {' and '.join(missing)}")
    if not (folder / "cgroup.kill").exists():
        raise NoCgroup("the kernel is older than 5.14")
    return folder


def least_memory(folder: Path) -> int:
    """The least limit on memory of a cgroup and those around it that can be seen; 0 if there is none."""
    around = itertools.takewhile(lambda path: (path / "cgroup.procs").exists(), (folder, *folder.parents))
    limits = (_text(path / "memory.max").strip() for path in around)
    return min((int(limit) for limit in limits if limit.isdigit()), default=0)


def own_folder(own: str, mounts: str) -> tuple[Path, Path]:
    """(folder of this process's cgroup, mount point), of /proc/self/cgroup and /proc/self/mountinfo. Raises NoCgroup.

    Several mounts may show different parts of the tree; one in a container may show its own part only.
    """
    path = next((line[3:] for line in own.splitlines() if line.startswith("0::")), None)
    for line in mounts.splitlines() if path is not None else ():
        fields, _, kind = line.partition(" - ")
        if kind.split(" ")[0] == "cgroup2":
            root, mounted_at = (Path(_unescaped(field)) for field in fields.split(" ")[3:5])
            if Path(str(path)).is_relative_to(root) and ".." not in Path(str(path)).parts:
                return mounted_at / Path(str(path)).relative_to(root), mounted_at
    raise NoCgroup("this host has no cgroups of version 2")


def limits_within(limits: Limits, memory_bytes: int) -> Limits:
    """The limits of a ComfyUI where this process, its parents and ComfyUI may have `memory_bytes`; 0 is no limit."""
    share = int(memory_bytes * SHARE)
    if share and (share < limits.memory_bytes or not limits.memory_bytes):
        return replace(limits, memory_bytes=share)
    return limits


def limits_of(limits: Limits) -> dict[str, str]:
    """The files of a cgroup and what is written to them. Memory is refused, not swapped; all of it ends at once."""
    return {
        "memory.max": str(limits.memory_bytes or "max"),
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "pids.max": str(limits.processes or "max"),
    }


def is_over_memory(events: str) -> bool:
    """True if memory.events tells of a process killed for the cgroup's own limit, not for one of those around it."""
    counted = _counted(events)
    return counted.get("oom", 0) > 0 and counted.get("oom_kill", 0) > 0


def _text(path: Path) -> str:
    """The text of a file; "" if there is none: the root of a host has no limits."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def _delegated(own: Path, mounted_at: Path) -> Path:
    """The cgroup of this process, or the one above: it may be in a leaf already."""
    for folder in (own, own.parent) if own != mounted_at else (own,):
        is_root_of_container = folder == mounted_at and (folder / "cgroup.type").exists()  # a host's own has no type
        if is_root_of_container or any(_attribute(folder, name) == b"1" for name in DELEGATED_BY_SYSTEMD):
            return folder
    raise NoCgroup(f"{own} is not delegated to it")


def _attribute(folder: Path, name: str) -> bytes:
    try:
        return os.getxattr(folder, name)
    except OSError:
        return b""


def _is_left(folder: Path) -> bool:
    """True if no process holds the lock on it: the worker that made it has ended."""
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(opened)
    return True


def _kill_and_remove(folder: Path, within_s: float) -> bool:
    """Kills everything in a cgroup and those below it, and removes them; False if it has not ended in time."""
    with contextlib.suppress(FileNotFoundError):
        (folder / "cgroup.kill").write_text("1")
    give_up_at = time.monotonic() + within_s
    while True:
        try:
            for path, _, _ in os.walk(folder, topdown=False):
                os.rmdir(path)
            return True
        except FileNotFoundError:
            return True
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() >= give_up_at:
                return False
        time.sleep(POLL_S)


def _counted(events: str) -> Mapping[str, int]:
    return {name: int(count) for name, _, count in (line.partition(" ") for line in events.splitlines()) if count}


def _unescaped(field: str) -> str:
    r"""A path of mountinfo, where \040 is a space."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)
