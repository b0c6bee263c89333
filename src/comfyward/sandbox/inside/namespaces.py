"""Walls that a forked ComfyUI builds around itself, inside those of its parent.

The parent's view of files is read-only except the folder in which every ComfyUI has its own. The child covers that
folder, shows its own in it, and has new process ids, IPC, host name, network, /tmp and /dev/shm. What it covers cannot
be uncovered: it gives up all capabilities, and can create no further user namespace.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
from typing import Any

from comfyward.sandbox.inside import kernel
from comfyward.sandbox.inside.kernel import mount

# As in the OCI's default: what /proc shows of the host, and what it would let root change.
MASKED = ("acpi", "asound", "kcore", "keys", "latency_stats", "timer_list", "timer_stats", "sched_debug", "scsi")
READ_ONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")

TMP = "/tmp"  # noqa: S108  the sandbox's own
PLAIN = kernel.MS_NOSUID | kernel.MS_NODEV
SIOCSIFFLAGS, IFF_UP_RUNNING = 0x8914, 0x41
DOOR = ("127.0.0.1", 3128)  # the address of the door, in a network of its own
WAITING_AT_DOOR = 128


def enter(network: bool) -> None:
    """Puts this process, which must have a single thread, into new namespaces; its next child is process 1 of them.

    Raises OSError.
    """
    user, group = os.getuid(), os.getgid()
    flags = kernel.CLONE_NEWUSER | kernel.CLONE_NEWNS | kernel.CLONE_NEWPID | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS
    kernel.unshare(flags if network else flags | kernel.CLONE_NEWNET)
    with contextlib.suppress(OSError):
        kernel.unshare(kernel.CLONE_NEWCGROUP)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        _write(f"/proc/self/{name}", text)
    if not network:
        _raise_loopback()


def door() -> socket.socket:
    """A socket that listens in this network, and goes to a process outside of it, which decides who is reached.

    Raises OSError.
    """
    listening = socket.socket()
    listening.bind(DOOR)
    listening.listen(WAITING_AT_DOOR)
    return listening


def build(plan: dict[str, Any]) -> None:
    """Builds the walls around process 1: `home` is covered, and of it only `base` is shown, writable in `writable`.

    Raises OSError.
    """
    mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    base, home = str(plan["base"]), str(plan["home"])
    below_tmp = [path for path in plan["read_only"] if path.startswith(f"{TMP}/")]
    shown = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in (*below_tmp, base, *plan["writable"])}
    _replace_devices(plan)
    os.makedirs(home, exist_ok=True)
    mount("tmpfs", home, "tmpfs", PLAIN, "mode=755,size=64k")
    for path, descriptor in shown.items():
        os.makedirs(path, exist_ok=True)
        mount(f"/proc/self/fd/{descriptor}", path, None, kernel.MS_BIND | kernel.MS_REC)
        if path not in plan["writable"]:
            _make_read_only(path)
        os.close(descriptor)
    _make_read_only(home)
    mount(os.path.join(base, "user"), plan["user"], None, kernel.MS_BIND)
    _replace_proc()
    _forbid_user_namespaces()


def _replace_devices(plan: dict[str, Any]) -> None:
    mount("tmpfs", TMP, "tmpfs", PLAIN, f"mode=1777,size={plan['tmp_bytes']},nr_inodes=200k")
    mount("tmpfs", "/dev/shm", "tmpfs", PLAIN, f"mode=1777,size={plan['shm_bytes']},nr_inodes=50k")  # noqa: S108
    pty = "newinstance,ptmxmode=0666,mode=620"
    mount("devpts", "/dev/pts", "devpts", kernel.MS_NOSUID | kernel.MS_NOEXEC, pty)


def _replace_proc() -> None:
    mount("proc", "/proc", "proc", PLAIN | kernel.MS_NOEXEC)
    for name in READ_ONLY:
        path = f"/proc/{name}"
        if os.path.exists(path):
            mount(path, path, None, kernel.MS_BIND)
            if name != "sys":  # first a file in it is written: _forbid_user_namespaces
                _make_read_only(path)
    for name in MASKED:
        path = f"/proc/{name}"
        if os.path.isdir(path):
            mount("tmpfs", path, "tmpfs", PLAIN | kernel.MS_RDONLY)
        elif os.path.exists(path):
            mount("/dev/null", path, None, kernel.MS_BIND)


def _forbid_user_namespaces() -> None:
    """A user namespace gives capabilities, and with them a much larger part of the kernel to attack."""
    _write("/proc/sys/user/max_user_namespaces", "0")
    _make_read_only("/proc/sys")


def _make_read_only(path: str) -> None:
    """Flags that the mount has already must be repeated: they are locked."""
    held = os.statvfs(path).f_flag
    flags = held & (kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC | os.ST_NOATIME | os.ST_NODIRATIME)
    if held & os.ST_RELATIME:
        flags |= kernel.MS_RELATIME
    mount("none", path, None, kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | flags)


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP_RUNNING))


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w") as file:
            file.write(text)
    except OSError as error:
        raise OSError(error.errno, f"{path}: {error.strerror}") from error
