"""The sandbox around ComfyUI: custom nodes and pickled models are other people's code.

It has the strongest of three levels that the host allows:

- bubblewrap: separate namespaces for files, processes, IPC and network. Only the files that ComfyUI needs exist.
- landlock: other folders cannot be opened, no socket can be made, nobody else be signalled (kernel 6.12).
- none: only a separate process with a clean environment.

There are two walls. The outer one is around a parent, which has imported libraries, and is the same for every ComfyUI
of an environment. The inner one is around one ComfyUI, which is forked from it: it sees its own workspace only.
"""

from __future__ import annotations

import grp
import json
import os
import platform
import shutil
import stat
import subprocess
import sys
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import comfyward
from comfyward.errors import SetupFailed
from comfyward.sandbox import inside
from comfyward.sandbox.inside import landlock

SOURCE = Path(comfyward.__file__).parent.parent
_PARENTS_CODE = (Path(comfyward.__file__), Path(__file__).with_name("__init__.py"), Path(inside.__file__).parent)
_RUN_PARENT = """
import json, sys
options = json.loads(sys.argv[1])
sys.path.insert(0, options["source"])
from comfyward.sandbox.inside import parent
parent.main(options)
"""

# Run by root. With bubblewrap, a first one has made the folders reachable, and a second one makes the namespaces.
_DROP_ROOT = """
import ctypes, json, os, signal, sys
user, groups, command = json.loads(sys.argv[1])
os.setgroups(groups)
os.setresgid(user, user, user)
os.setresuid(user, user, user)
ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # a change of user has reset it
os.execv(command[0], command)
"""

# The parts of the system that a program needs: no home folders, no /var, no /run, no /root.
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32", "/libx32")
_ETC = (
    "/etc/alternatives",
    "/etc/fonts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/OpenCL",
    "/etc/vulkan",
)
_CERTIFICATES = ("/etc/ssl", "/etc/ca-certificates")
_NETWORK_ETC = ("/etc/resolv.conf", "/etc/hosts", *_CERTIFICATES)
_GPU_DEVICES = ("nvidia*", "dri", "kfd", "dxg")  # dxg: in the Linux of Windows
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom", "/dev/tty")
_PROC_FILES = ("meminfo", "cpuinfo", "stat", "version", "filesystems", "loadavg", "sys", "driver", "devices", "uptime")

_NAMELESS_USERS = (61184, 65520)
INSIDE_ID = 1000
HOME = "/home/comfyui"  # inside bubblewrap, where every ComfyUI has its own there
GIB = 1 << 30


PROBES, KILLED = 3, 128  # a probe that was killed says nothing about the host


class Level(StrEnum):
    BUBBLEWRAP = "bubblewrap"
    LANDLOCK = "landlock"
    NONE = "none"


@dataclass(frozen=True)
class Access:
    """The folders that every ComfyUI of an environment may read, and the network. Its own workspace is below `home`.

    With `egress` but no `network` it may reach some hosts through a door, and needs certificates for that.
    """

    read_only: tuple[Path, ...]
    home: Path
    network: bool = False
    egress: bool = False


@dataclass(frozen=True)
class Workspace:
    """The folder of one ComfyUI, and the folders in it to which it may write."""

    base: Path
    writable: tuple[Path, ...]


@dataclass(frozen=True)
class Limits:
    """The most that one ComfyUI may use; 0 is no limit."""

    memory_bytes: int = 0  # of all its processes, and of each of them
    disk_bytes: int = 0  # of all its folders
    processes: int = 4096
    file_bytes: int = 64 * GIB
    open_files: int = 16384
    tmp_bytes: int = 2 * GIB
    shm_bytes: int = 4 * GIB


def choose(wanted: str) -> Level:
    """The named level, or for "auto" the strongest that works. Raises SetupFailed if a named one does not work."""
    if wanted == "none" or platform.system() != "Linux":
        return Level.NONE
    if wanted in ("auto", "bubblewrap") and bubblewrap_works():
        return Level.BUBBLEWRAP
    if wanted in ("auto", "landlock") and landlock.abi() >= 1:
        return Level.LANDLOCK
    if wanted == "auto":
        return Level.NONE
    raise SetupFailed(
        f"The sandbox '{wanted}' does not work on this host.",
        hint="Install the package 'bubblewrap' and allow user namespaces, or set COMFYWARD_SANDBOX=auto.",
    )


def bubblewrap_works() -> bool:
    """True if bubblewrap is installed, and this host allows it to create namespaces, and these to create their own."""
    binary = shutil.which("bwrap")
    if binary is None:
        return False
    python = Path(sys.executable)
    access = Access((python.parent.parent, python.resolve().parent.parent, Path(binary)), Path("/usr"))
    again = [binary, *_namespaces(network=False), *_binds("--ro-bind-try", _SYSTEM), "--proc", "/proc", "/bin/true"]
    probe = _around(access, python, [*_bubblewrap(access), *again])
    for _ in range(PROBES):
        status = subprocess.run(probe, capture_output=True, timeout=30, check=False).returncode
        if 0 <= status < KILLED:
            return status == 0
    return False


def owner(level: Level, access: Access) -> int | None:
    """The id of the user as whom ComfyUI runs, and who must own what it may write to; None for this process's user.

    Root drops to a user without a name, a different one for each worker, in the range that systemd uses for those. Only
    bubblewrap can show that user folders that it could not reach; without it, ComfyUI remains root where there are any.
    """
    if os.geteuid() != 0 or (level is not Level.BUBBLEWRAP and unreachable(access) is not None):
        return None
    first, last = _NAMELESS_USERS
    return first + zlib.crc32(str(access.home).encode()) % (last - first)


def unreachable(access: Access) -> Path | None:
    """A folder through which a user without privileges may not pass to what ComfyUI needs; None if there is none."""
    needed = {path for each in (*access.read_only, SOURCE, access.home.parent) for path in (each, each.resolve())}
    folders = {folder for path in needed for folder in (path, *path.parents) if folder.is_dir()}
    return next((folder for folder in sorted(folders) if not folder.stat().st_mode & stat.S_IXOTH), None)


def parent_command(level: Level, access: Access, python: Path, wanted: Mapping[str, object], control: int) -> list[str]:
    """The command line of a parent that imports what is `wanted`, and serves the inherited socket `control`."""
    options = {
        **wanted,
        "walls": _around_parent(access) if level is Level.LANDLOCK else None,
        "source": str(SOURCE),
        "control": control,
        "space": " " * 2048,  # each ComfyUI shows its own command line over this one
    }
    parent = [str(python), "-c", _RUN_PARENT, json.dumps(options)]
    if level is Level.BUBBLEWRAP:
        return _around(access, python, [*_bubblewrap(access), *parent])
    user = owner(level, access)
    return parent if user is None else _as_user(user, python, parent)


def _around(access: Access, python: Path, command: list[str]) -> list[str]:
    """The command, run by a user without privileges if this process is root's.

    Such a user could not reach a data directory in root's home, so root first mounts what is needed elsewhere.
    """
    user = owner(Level.BUBBLEWRAP, access)
    if user is None:
        return command
    etc = _etc(access)
    folders = {str(path.parent) for path in (*map(Path, etc), *access.read_only, *_PARENTS_CODE, access.home)}
    return [
        command[0],
        *("--perms", "1777", "--tmpfs", "/tmp"),  # noqa: S108  the sandbox's own
        *(word for folder in sorted(folders - {"/"}) for word in ("--dir", folder)),  # else only root may pass them
        *_binds("--ro-bind-try", (*_SYSTEM, *etc, "/sys")),
        *("--bind", "/proc", "/proc", "--dev-bind", "/dev", "/dev"),
        *_binds("--ro-bind-try", map(str, (*access.read_only, *_PARENTS_CODE))),
        *("--bind", str(access.home), str(access.home)),
        *("--die-with-parent", "--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"),
        *_as_user(user, python, command),
    ]


def _as_user(user: int, python: Path, command: list[str]) -> list[str]:
    return [str(python), "-c", _DROP_ROOT, json.dumps([user, _gpu_groups(), command])]


def _gpu_groups() -> list[int]:
    """The groups that may use a GPU's device, where it is not everybody's."""
    return [group.gr_gid for group in grp.getgrall() if group.gr_name in ("video", "render")]


def inner(level: Level, access: Access, workspace: Workspace, limits: Limits) -> dict[str, object]:
    """The walls of one ComfyUI, as its parent builds them in the fork."""
    has_own_user = level is Level.BUBBLEWRAP or owner(level, access) is not None
    return {
        "namespaces": _namespaces_plan(access, workspace, limits) if level is Level.BUBBLEWRAP else None,
        "landlock": _landlock(access, workspace) if level is Level.LANDLOCK else None,
        "seccomp": level is not Level.NONE,
        # Where there is no network namespace, having no network means to have no socket.
        "sockets": access.network or level is Level.BUBBLEWRAP,
        "limits": {
            "data_bytes": limits.memory_bytes,
            "processes": limits.processes if has_own_user else 0,  # else it would count those of others
            "file_bytes": limits.file_bytes,
            "open_files": limits.open_files,
        },
    }


def home_of(level: Level, workspace: Workspace) -> str:
    """The home folder of a ComfyUI, as it sees it."""
    return HOME if level is Level.BUBBLEWRAP else str(workspace.base / "user")


def _bubblewrap(access: Access) -> list[str]:
    return [
        shutil.which("bwrap") or "bwrap",
        *_namespaces(network=access.network),
        *_binds("--ro-bind-try", (*_SYSTEM, *_etc(access))),
        *("--proc", "/proc", "--dev", "/dev"),
        *_binds("--dev-bind-try", _devices()),
        *_binds("--ro-bind-try", ("/sys",)),
        *("--tmpfs", "/tmp"),  # noqa: S108  the sandbox's own
        *("--dir", HOME),
        *_binds("--ro-bind-try", map(str, (*access.read_only, *_PARENTS_CODE))),
        *("--bind", str(access.home), str(access.home)),
        # Both are folders in memory, writable by default: what one ComfyUI left there, the next would see.
        *("--remount-ro", "/dev", "--remount-ro", "/"),
        *("--chdir", "/"),
    ]


def has_door(level: Level, access: Access) -> bool:
    """True if ComfyUI has a door: a socket in its own network, on which a process outside of it answers.

    Where there are no namespaces for networks, nothing can tell one address from another, so there is none.
    """
    return access.egress and not access.network and level is Level.BUBBLEWRAP


def _etc(access: Access) -> tuple[str, ...]:
    """The files of /etc that ComfyUI needs."""
    if access.network:
        return _ETC + _NETWORK_ETC
    return _ETC + _CERTIFICATES if access.egress else _ETC


def _namespaces(*, network: bool) -> list[str]:
    flags = ["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    if not network:
        flags.append("--unshare-net")
    # Not 0, whose meaning in a namespace would need a capability to be passed on to one inside it.
    identity = ("--uid", str(INSIDE_ID), "--gid", str(INSIDE_ID), "--hostname", "comfyui")
    return [*flags, *identity, "--die-with-parent", "--new-session", "--cap-drop", "ALL"]


def _namespaces_plan(access: Access, workspace: Workspace, limits: Limits) -> dict[str, object]:
    return {
        "home": str(access.home),
        "base": str(workspace.base),
        "read_only": [str(path) for path in access.read_only],
        "writable": [str(path) for path in workspace.writable],
        "user": HOME,
        "network": access.network,
        "has_door": has_door(Level.BUBBLEWRAP, access),
        "tmp_bytes": limits.tmp_bytes,
        "shm_bytes": limits.shm_bytes,
    }


def _binds(kind: str, paths: Iterable[str]) -> list[str]:
    return [word for path in paths for word in (kind, path, path)]


def drivers_folders() -> list[Path]:
    """The folders in which only LD_LIBRARY_PATH finds a GPU's driver: images for Kubernetes have it so."""
    named = [Path(folder) for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder]
    return [folder for folder in named if folder.is_absolute() and any(folder.glob("libcuda.so*"))]


def drivers_variables() -> dict[str, str]:
    """LD_LIBRARY_PATH for the driver alone; the loader reads it when a process starts, so a parent needs it, too."""
    folders = drivers_folders()
    return {"LD_LIBRARY_PATH": ":".join(map(str, folders))} if folders else {}


def _devices() -> list[str]:
    return sorted({str(path) for pattern in _GPU_DEVICES for path in Path("/dev").glob(pattern)})


def _around_parent(access: Access) -> dict[str, object]:
    """The walls of a parent without namespaces. Its forks can only narrow them: they must allow what any fork needs."""
    landlock = {
        "read": [*_SYSTEM, *_etc(access), "/proc", "/sys", *map(str, (*access.read_only, *_PARENTS_CODE))],
        "write": [*_DEVICES, *_devices(), str(access.home)],
        "network": access.network,
    }
    return {"landlock": landlock, "sockets": access.network}


def _landlock(access: Access, workspace: Workspace) -> dict[str, object]:
    proc = ("/proc/self", *(f"/proc/{name}" for name in _PROC_FILES))
    return {
        "read": [*_SYSTEM, *_etc(access), *proc, "/sys", *map(str, (*access.read_only, workspace.base))],
        "write": [*_DEVICES, *_devices(), *map(str, workspace.writable)],
        "network": access.network,
    }
