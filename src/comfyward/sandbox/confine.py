"""Confines this process, once it has loaded its code, to what it has open: no file, program or network is left to it.

It uses what the host allows: namespaces of its own (no other process, no network, an empty file system), and Landlock
(nothing can be opened, signalled or connected to). Standard library only. (Constants: linux/sched.h, sys/mount.h,
linux/landlock.h.)
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import struct
from dataclasses import dataclass

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE, MS_RDONLY = 2, 4, 8, 0x4000, 1 << 18, 1
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 1, 4, 38
SYS_CREATE_RULESET, SYS_RESTRICT_SELF = 444, 446
CAP_VERSION_3 = 0x20080522
NOBODY = 65534
FILES_OF_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
ALL_TCP, ALL_SCOPES = 0b11, 0b11

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Limits:
    """The most that a confined process may use."""

    memory_bytes: int
    cpu_s: int
    file_bytes: int


def confine(limits: Limits) -> None:
    """Confines this process, which must have one thread only, and everything that it starts.

    Where the host allows process namespaces, a child goes on: this process waits for it, and ends as it does.
    """
    for what, most in (
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_CPU, limits.cpu_s),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    _libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    if _unshare():
        _continue_in_child()
        _empty_file_system()
        _drop_capabilities()
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # a change of user clears it
    _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _landlock()


def _unshare() -> bool:
    """True if this process, or its next child, has namespaces of its own."""
    flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS
    if os.geteuid() != 0:
        flags |= CLONE_NEWUSER
    return int(_libc.unshare(flags)) == 0


def _continue_in_child() -> None:
    """Returns in a child, the only process of its namespace."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _empty_file_system() -> None:
    """Puts this process into a folder in memory without anything in it, if the host allows mounts."""
    flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
    if _libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None):
        return
    if _libc.mount(b"none", b"/tmp", b"tmpfs", flags | MS_RDONLY, b"size=4k,nr_inodes=1"):
        return
    os.chroot("/tmp")  # noqa: S108
    os.chdir("/")


def _drop_capabilities() -> None:
    if os.geteuid() == 0 and _libc.getuid() == 0:
        with contextlib.suppress(OSError):
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
    header, data = struct.pack("=II", CAP_VERSION_3, 0), bytes(24)
    _libc.capset(ctypes.c_char_p(header), ctypes.c_char_p(data))


def _landlock() -> None:
    """Forbids to open, connect to or signal anything, as far as the kernel knows of it."""
    abi = max(0, int(_libc.syscall(SYS_CREATE_RULESET, None, 0, 1)))
    if abi == 0:
        return
    files = FILES_OF_ABI[max(version for version in FILES_OF_ABI if version <= abi)]
    attributes = struct.pack("=QQQ", files, ALL_TCP if abi >= 4 else 0, ALL_SCOPES if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = _libc.syscall(SYS_CREATE_RULESET, ctypes.c_char_p(attributes), ctypes.c_size_t(size), 0)
    if ruleset >= 0:
        _libc.syscall(SYS_RESTRICT_SELF, ruleset, 0)
        os.close(ruleset)
