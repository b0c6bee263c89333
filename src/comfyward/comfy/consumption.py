"""Memory and disk that one ComfyUI uses, measured while it runs, since no limit of the kernel is on their sum."""

from __future__ import annotations

import contextlib
import functools
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

MOST_FILES = 500_000


def memory_bytes(pids: Iterable[int]) -> int:
    """The resident memory of some processes. What they share counts for each."""
    return sum(map(_resident_bytes, pids))


def own_memory_bytes(pids: Iterable[int], in_files: int = 0) -> int:
    """The memory of some processes, with `in_files` bytes of open files in memory, of which they may have mapped some.

    What several of them share counts once.
    """
    private = shared = 0
    for pid in pids:
        all_of_it, of_files = _proportional_bytes(pid)
        private, shared = private + all_of_it - of_files, shared + of_files
    return private + max(shared, in_files)


def disk_bytes(folders: Iterable[Path], limit: int) -> int:
    """The disk space of everything in the folders, or more than `limit` if it is, or if there are too many files.

    No link is followed; folders may have any depth, and change meanwhile.
    """
    total, files = 0, 0
    waiting = [os.fspath(folder) for folder in folders]
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                files += 1
                with contextlib.suppress(OSError):
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                if total > limit or files > MOST_FILES:
                    return max(total, limit + 1)
    return total


def unlinked_bytes(pids: Iterable[int], folders: Iterable[Path]) -> int:
    """The disk space of files that some processes have removed and still use, on the disks of these folders.

    They are in no folder any more. Files that others wrote and that are only read, such as models that left a cache
    while they are used, do not count.
    """
    disks = set()
    for folder in folders:
        with contextlib.suppress(OSError):
            disks.add(os.stat(folder, follow_symlinks=False).st_dev)
    used: dict[tuple[int, int], int] = {}
    for pid in pids:
        used |= {file: size for file, size in _unlinked_mappings(pid) if file[0] in disks}
        used |= {file: size for file, size in _unlinked_files(pid) if file[0] in disks}  # more exact
    return sum(used.values())


def files_in_memory_bytes(pids: Iterable[int]) -> int:
    """The memory of files that some processes have open and that never had a name (`memfd_create`).

    Unless they are mapped as well, they are part of no process's memory.
    """
    device = _device_of_files_in_memory()
    used: dict[tuple[int, int], int] = {}
    for pid in pids:
        used |= {_id(file): _size(file) for file, _ in _open_without_a_name(pid) if file.st_dev == device}
    return sum(used.values())


@functools.cache
def _device_of_files_in_memory() -> int:
    """The kernel has one file system for all of them."""
    opened = os.memfd_create("comfyward")
    try:
        return os.fstat(opened).st_dev
    finally:
        os.close(opened)


def _unlinked_files(pid: int) -> Iterator[tuple[tuple[int, int], int]]:
    """((device, inode), bytes on disk) of each file without a name that a process has open to write, or wrote."""
    for file, access in _open_without_a_name(pid):
        if access & stat.S_IWUSR or file.st_uid != os.geteuid():
            yield _id(file), _size(file)


def _open_without_a_name(pid: int) -> Iterator[tuple[os.stat_result, int]]:
    """(the status of an open file without a name, the mode in which a process has it open)"""
    with contextlib.suppress(OSError), os.scandir(f"/proc/{pid}/fd") as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                file = entry.stat()
                if stat.S_ISREG(file.st_mode) and file.st_nlink == 0:
                    yield file, entry.stat(follow_symlinks=False).st_mode


def _id(file: os.stat_result) -> tuple[int, int]:
    return file.st_dev, file.st_ino


def _size(file: os.stat_result) -> int:
    return file.st_blocks * 512


def _unlinked_mappings(pid: int) -> Iterator[tuple[tuple[int, int], int]]:
    """((device, inode), bytes) of each file without a name that a process has mapped to write: it may be closed."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/maps").read_bytes().splitlines():
            if line.endswith(b" (deleted)"):
                addresses, access, _, device, inode = line.split(None, 5)[:5]
                if access.startswith(b"rw") and access.endswith(b"s"):
                    start, end = (int(each, 16) for each in addresses.split(b"-"))
                    major, minor = (int(each, 16) for each in device.split(b":"))
                    yield (os.makedev(major, minor), int(inode)), end - start


def with_descendants(root: int) -> set[int]:
    """A process and all its descendants, from the process table, which is read whole."""
    parents = {}
    for name in filter(str.isdecimal, os.listdir("/proc")):  # each second, on hosts with a thousand of them
        with (
            contextlib.suppress(OSError, ValueError, IndexError),
            open(f"/proc/{name}/stat", "rb", buffering=0) as file,
        ):
            # The name in parentheses may contain anything; the parent is the second field after it.
            parents[int(name)] = int(file.read().rpartition(b")")[2].split(None, 2)[1])
    found, size = {root}, 0
    while len(found) > size:
        size = len(found)
        found |= {pid for pid, parent in parents.items() if parent in found}
    return found


def _resident_bytes(pid: int) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _proportional_bytes(pid: int) -> tuple[int, int]:
    """(the memory of a process, the part of it that is files in memory)"""
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = (line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
        sizes = {words[0]: int(words[1]) << 10 for words in lines}
        if "Pss:" in sizes:
            return sizes["Pss:"], sizes.get("Pss_Shmem:", 0)
    return _resident_bytes(pid), 0
