"""Runs ComfyUI's main.py in this process, confined. Run by ComfyUI's own Python; standard library only.

    python launch.py '{"leash": 3, "death_signal": true, "landlock": {"read": [...], "write": [...]}}' main.py …

Landlock is the sandbox for hosts that do not allow namespaces: it blocks files outside the given folders, and TCP
connections. (Constants: linux/landlock.h; the calls have no C library wrappers.)
"""

from __future__ import annotations

import ctypes
import json
import os
import runpy
import signal
import sys
import threading

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
SYS_CREATE_RULESET, SYS_ADD_RULE, SYS_RESTRICT_SELF = 444, 445, 446
RULE_PATH_BENEATH = 1

READ = (1 << 0) | (1 << 2) | (1 << 3)  # execute, read file, read folder
READ_FILE = (1 << 0) | (1 << 2)
WRITE_FILE = (1 << 1) | (1 << 14)  # write file, truncate
ALL_OF_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
CONNECT_TCP = 1 << 1

libc = ctypes.CDLL(None, use_errno=True)


class _RulesetAttr(ctypes.Structure):
    _fields_ = (("handled_fs", ctypes.c_uint64), ("handled_net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathAttr(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def landlock_abi() -> int:
    """The kernel's Landlock version, 0 if it has none."""
    return max(0, int(libc.syscall(SYS_CREATE_RULESET, None, 0, 1)))


def restrict(read: list[str], write: list[str], network: bool) -> None:
    """Confines this process: it can read only `read`, write only `write`, and without `network` make no TCP connection.

    Raises OSError.
    """
    abi = landlock_abi()
    handled = ALL_OF_ABI[max(version for version in ALL_OF_ABI if version <= abi)]
    attr = _RulesetAttr(handled, 0 if network or abi < 4 else CONNECT_TCP, 0)
    size = 8 if abi < 4 else 16
    ruleset = libc.syscall(SYS_CREATE_RULESET, ctypes.byref(attr), size, 0)
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "landlock_create_ruleset")
    for path in read:
        _allow(ruleset, path, READ & handled)
    for path in write:
        _allow(ruleset, path, handled)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.syscall(SYS_RESTRICT_SELF, ruleset, 0):
        raise OSError(ctypes.get_errno(), "landlock_restrict_self")
    os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    if not os.path.exists(path):
        return
    folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
    if not os.path.isdir(path):
        rights &= READ_FILE | WRITE_FILE
    attr = _PathAttr(rights, folder)
    if libc.syscall(SYS_ADD_RULE, ruleset, RULE_PATH_BENEATH, ctypes.byref(attr), 0):
        raise OSError(ctypes.get_errno(), f"landlock_add_rule {path}")
    os.close(folder)


def hold_leash(leash: int) -> None:
    """Kills this process group once no process holds the other end of the pipe `leash`.

    A parent that dies before PR_SET_PDEATHSIG is set sends no signal; the end of a pipe is never missed.
    """

    def wait() -> None:
        os.read(leash, 1)  # nothing is ever written: it returns when the last writer is gone
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=wait, name="leash", daemon=True).start()


def main() -> None:
    options = json.loads(sys.argv[1])
    hold_leash(options["leash"])
    if options.get("death_signal"):
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if options.get("landlock"):
        restrict(**options["landlock"])
    sys.argv = sys.argv[2:]
    sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
