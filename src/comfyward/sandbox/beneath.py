"""Opens files and folders that ComfyUI and its nodes may write to: beneath a folder, and never through a link.

A path is resolved by the kernel in one call (`openat2`), or part by part where that call cannot be had. What is opened
is looked at only then: a folder that becomes a link, or a file that becomes a pipe, is not found.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from comfyward.sandbox import removal
from comfyward.sandbox.removal import FOLDER

FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
SYS_OPENAT2 = 437
RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH = 0x02, 0x04, 0x08
STRICT = RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH
UNSUPPORTED = (errno.ENOSYS, errno.EPERM)  # an old kernel; a filter of system calls that does not know this one

_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


@contextlib.contextmanager
def opened(base: Path, parts: Sequence[str], *, create: bool = False) -> Iterator[int]:
    """The descriptor of the folder `base/parts…`, closed after the block. `create` makes missing folders.

    Raises FileNotFoundError if there is no such folder, or if a part of its path is a link or leads out of the base.
    """
    here = os.open(base, FOLDER)
    try:
        folder = _made(here, parts) if create else open_folder(here, parts)
    finally:
        os.close(here)
    try:
        yield folder
    finally:
        os.close(folder)


def open_folder(here: int, parts: Sequence[str]) -> int:
    """The descriptor of the folder `parts…` below an open one. Raises FileNotFoundError as `opened` does."""
    _check(parts)
    try:
        return _open_beneath(here, parts, FOLDER)
    except OSError as error:
        raise FileNotFoundError("/".join(parts)) from error


def open_file(here: int, parts: Sequence[str]) -> int:
    """The descriptor of the regular file `parts…` below an open folder, for reading; opening never waits.

    Raises FileNotFoundError for everything else: a link, a pipe, a socket, a device, a file without permissions.
    """
    _check(parts)
    try:
        file = _open_beneath(here, parts, FILE)
    except OSError as error:
        raise FileNotFoundError("/".join(parts)) from error
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise FileNotFoundError("/".join(parts))
    return file


def _check(parts: Sequence[str]) -> None:
    if any(part in ("", ".", "..") or "/" in part or "\0" in part for part in parts):
        raise FileNotFoundError("/".join(parts))


def _open_beneath(here: int, parts: Sequence[str], flags: int) -> int:
    how = _OpenHow(flags, 0, STRICT)
    path = os.fsencode("/".join(parts) or ".")
    opened = _libc.syscall(SYS_OPENAT2, here, path, ctypes.byref(how), ctypes.sizeof(how))
    if opened >= 0:
        return int(opened)
    number = ctypes.get_errno()
    if number in UNSUPPORTED:
        return _open_in_steps(here, parts, flags)
    raise OSError(number, os.strerror(number), "/".join(parts))


def _open_in_steps(here: int, parts: Sequence[str], flags: int) -> int:
    """As the kernel's call, part by part."""
    folder = os.open(".", FOLDER, dir_fd=here)
    try:
        for part in parts[:-1]:
            inner = os.open(part, FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(parts[-1] if parts else ".", flags, dir_fd=folder)
    finally:
        os.close(folder)


def _made(here: int, parts: Sequence[str]) -> int:
    """The folder `parts…`, made where it is missing."""
    _check(parts)
    folder = os.open(".", FOLDER, dir_fd=here)
    for part in parts:
        try:
            inner = _made_in(folder, part)
        finally:
            os.close(folder)
        folder = inner
    return folder


def _made_in(here: int, name: str) -> int:
    with contextlib.suppress(OSError):
        return os.open(name, FOLDER, dir_fd=here)
    removal.remove(name, here)  # a file, or a link that may lead elsewhere
    os.mkdir(name, dir_fd=here)
    return os.open(name, FOLDER, dir_fd=here)
