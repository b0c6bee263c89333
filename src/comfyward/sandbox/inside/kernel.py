"""Linux calls that Python has no function for. Standard library only: ComfyUI's own Python runs it."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS = 0x00020000, 0x02000000, 0x04000000
CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x08000000, 0x10000000, 0x20000000, 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE, MS_RELATIME = 4096, 16384, 1 << 18, 1 << 21

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP = 1, 4, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 36, 38, 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
CAPABILITY_VERSION = 0x20080522
LAST_CAPABILITY = 63  # more than there are: dropping an unknown one fails without harm

libc = ctypes.CDLL(None, use_errno=True)


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


def check(result: int, what: str) -> int:
    """The result of a call of the C library. Raises OSError if it is negative."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def prctl(option: int, value: int, what: str) -> None:
    """Raises OSError."""
    check(libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0), what)


def die_with(parent: int, number: int) -> bool:
    """Has this process get a signal when its parent ends. Returns False if the parent has ended already.

    Call it after every change of user and capabilities, which undo it. Raises OSError.
    """
    prctl(PR_SET_PDEATHSIG, number, "parent death signal")
    return os.getppid() == parent


def die_with_us() -> Callable[[], object]:
    """A call for a child of this process, before it becomes a program: the child is killed when this process ends."""
    parent = os.getpid()
    return lambda: die_with(parent, signal.SIGKILL)


def unshare(flags: int) -> None:
    """Raises OSError."""
    check(libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    """Raises OSError, with the target."""
    made = libc.mount(source.encode(), os.fsencode(target), kind.encode() if kind else None, flags, options.encode())
    check(made, f"mount {target}")


def drop_capabilities() -> None:
    """Gives up every capability, for this process and everything that it starts. Raises OSError."""
    for capability in range(LAST_CAPABILITY + 1):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    none = (ctypes.c_uint32 * 6)()
    check(libc.capset(ctypes.byref(_CapHeader(CAPABILITY_VERSION, 0)), none), "capset")


def forbid_new_privileges() -> None:
    """A program with the setuid bit gains nothing from now on. Raises OSError."""
    prctl(PR_SET_NO_NEW_PRIVS, 1, "no_new_privs")
