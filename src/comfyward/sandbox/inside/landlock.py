"""Landlock: folders that cannot be opened, TCP that cannot be used, processes that cannot be signalled.

It needs no privileges and works in containers. (Constants: linux/landlock.h; the calls have no C library wrappers.)
"""

from __future__ import annotations

import ctypes
import os

from comfyward.sandbox.inside.kernel import check, forbid_new_privileges, libc

SYS_CREATE_RULESET, SYS_ADD_RULE, SYS_RESTRICT_SELF = 444, 445, 446
RULE_PATH_BENEATH = 1

READ = (1 << 0) | (1 << 2) | (1 << 3)  # execute, read file, read folder
READ_FILE = (1 << 0) | (1 << 2)
WRITE_FILE = (1 << 1) | (1 << 14)  # write file, truncate
IOCTL_DEVICE = 1 << 15
ALL_OF_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
TCP = (1 << 0) | (1 << 1)  # bind, connect
SCOPES = (1 << 0) | (1 << 1)  # abstract Unix sockets, signals


class _RulesetAttr(ctypes.Structure):
    _fields_ = (("handled_fs", ctypes.c_uint64), ("handled_net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathAttr(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def abi() -> int:
    """The kernel's Landlock version, 0 if it has none."""
    return max(0, int(libc.syscall(SYS_CREATE_RULESET, None, 0, 1)))


def restrict(read: list[str], write: list[str], network: bool) -> None:
    """Confines this process: it can read only `read`, write only `write`, and without `network` use no TCP.

    Since version 6, it can signal, and reach by abstract Unix sockets, only what it started itself. Raises OSError.
    """
    version = abi()
    handled = ALL_OF_ABI[max(each for each in ALL_OF_ABI if each <= version)]
    attr = _RulesetAttr(handled, 0 if network or version < 4 else TCP, SCOPES if version >= 6 else 0)
    ruleset = _created(attr, version)
    for path in read:
        _allow(ruleset, path, READ & handled)
    for path in write:
        _allow(ruleset, path, handled)
    _enforce(ruleset)


def seclude() -> None:
    """Restricts signals and abstract Unix sockets to what this process starts, if the kernel can. Raises OSError."""
    version = abi()
    if version >= 6:
        _enforce(_created(_RulesetAttr(0, 0, SCOPES), version))


def _created(attr: _RulesetAttr, version: int) -> int:
    size = 8 if version < 4 else 16 if version < 6 else 24
    return check(libc.syscall(SYS_CREATE_RULESET, ctypes.byref(attr), size, 0), "landlock_create_ruleset")


def _allow(ruleset: int, path: str, rights: int) -> None:
    if not os.path.exists(path):
        return
    folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
    if not os.path.isdir(path):
        rights &= READ_FILE | WRITE_FILE | IOCTL_DEVICE
    attr = _PathAttr(rights, folder)
    check(libc.syscall(SYS_ADD_RULE, ruleset, RULE_PATH_BENEATH, ctypes.byref(attr), 0), f"landlock_add_rule {path}")
    os.close(folder)


def _enforce(ruleset: int) -> None:
    forbid_new_privileges()
    check(libc.syscall(SYS_RESTRICT_SELF, ruleset, 0), "landlock_restrict_self")
    os.close(ruleset)
