"""Files in the kernel's page cache: how much of one is in memory, reading it in, and letting it go.

A page that was read is there for every process that opens the file, by whichever link. The kernel takes it back when a
process needs the memory, so nothing that is kept in this way can make a run fail.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import threading
from pathlib import Path

PIECE_BYTES = 1 << 20
_PROT_READ, _MAP_SHARED = 1, 1
_MAP_FAILED = ctypes.c_void_p(-1).value
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}  # source: the kernel's tables of calls; it has no function in libc
_WHO_IS_A_THREAD, _IDLE = 1, 3 << 13

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_longlong)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)


def read_when_idle() -> None:
    """Lets this thread read from disks only what nobody else waits for, where the disk's scheduler knows of that."""
    if (number := _IOPRIO_SET.get(platform.machine())) is not None:
        _libc.syscall(number, _WHO_IS_A_THREAD, 0, _IDLE)


def resident_bytes(file: Path) -> int | None:
    """The bytes of a file that are in memory; None if the kernel does not tell: the file is another user's.

    Raises OSError.
    """
    opened = os.open(file, os.O_RDONLY)
    try:
        status = os.fstat(opened)
        # Source: can_do_mincore in the kernel's mm/mincore.c; to others it says that everything is in memory.
        if os.geteuid() not in (0, status.st_uid) and not os.access(file, os.W_OK):
            return None
        return _resident(opened, status.st_size) if status.st_size else 0
    finally:
        os.close(opened)


def read_in(file: Path, stop: threading.Event) -> bool:
    """Reads a file into memory. False if it was stopped before the end. Raises OSError."""
    piece = bytearray(PIECE_BYTES)
    with file.open("rb", buffering=0) as opened:
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while not stop.is_set():
            if not opened.readinto(piece):
                return True
    return False


def let_go(file: Path) -> None:
    """Takes a file out of memory, except for what a process has mapped. Raises OSError."""
    opened = os.open(file, os.O_RDONLY)
    try:
        os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(opened)


def _resident(opened: int, size: int) -> int:
    address = _libc.mmap(None, size, _PROT_READ, _MAP_SHARED, opened, 0)
    if address == _MAP_FAILED:
        raise OSError(ctypes.get_errno(), "mmap")
    try:
        pages = ctypes.create_string_buffer(-(-size // mmap.PAGESIZE))
        if _libc.mincore(address, size, pages) != 0:
            raise OSError(ctypes.get_errno(), "mincore")
        return min(size, pages.raw.count(b"\1") * mmap.PAGESIZE)
    finally:
        _libc.munmap(address, size)
