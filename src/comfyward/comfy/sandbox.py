"""The sandbox around ComfyUI: custom nodes and pickled models are other people's code.

It has the strongest of three levels that the host allows:

- bubblewrap: separate namespaces for files, processes, IPC and network. Only the files that ComfyUI needs exist.
- landlock: other folders cannot be opened, and no TCP connection can be made (kernel 6.7).
- none: only a separate process with a clean environment.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from comfyward.comfy import launch
from comfyward.errors import SetupFailed

LAUNCHER = Path(launch.__file__)

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
_NETWORK_ETC = ("/etc/resolv.conf", "/etc/hosts", "/etc/ssl", "/etc/ca-certificates")
_GPU_DEVICES = ("nvidia*", "dri", "kfd", "nvidia-caps")
_PROC_FILES = ("meminfo", "cpuinfo", "stat", "version", "filesystems", "loadavg", "sys", "driver", "devices", "uptime")


class Level(StrEnum):
    BUBBLEWRAP = "bubblewrap"
    LANDLOCK = "landlock"
    NONE = "none"


@dataclass(frozen=True)
class Access:
    """The folders, and the network, that the program inside may use. A writable folder may be in a read-only one."""

    read_only: tuple[Path, ...]
    writable: tuple[Path, ...]
    network: bool = False


def choose(wanted: str) -> Level:
    """The named level, or for "auto" the strongest that works. Raises SetupFailed if a named one does not work."""
    if wanted == "none" or platform.system() != "Linux":
        return Level.NONE
    if wanted in ("auto", "bubblewrap") and bubblewrap_works():
        return Level.BUBBLEWRAP
    if wanted in ("auto", "landlock") and launch.landlock_abi() >= 1:
        return Level.LANDLOCK
    if wanted == "auto":
        return Level.NONE
    raise SetupFailed(
        f"The sandbox '{wanted}' does not work on this host.",
        hint="Install the package 'bubblewrap' and allow user namespaces, or set COMFYWARD_SANDBOX=auto.",
    )


def bubblewrap_works() -> bool:
    """True if bubblewrap is installed and this host allows it to create namespaces."""
    binary = shutil.which("bwrap")
    if binary is None:
        return False
    probe = [binary, *_namespaces(network=False), *_binds("--ro-bind-try", _SYSTEM), "--proc", "/proc", "/bin/true"]
    return subprocess.run(probe, capture_output=True, timeout=10, check=False).returncode == 0


def wrap(level: Level, access: Access, command: list[str], leash: int) -> list[str]:
    """The command line that runs `command` (python, main.py, arguments) in the sandbox.

    The process must inherit `leash`, the read end of a pipe; it ends when the other end closes.
    """
    python, *arguments = command
    outside: list[str] = []
    options: dict[str, object] = {"leash": leash}
    match level:
        case Level.BUBBLEWRAP:
            outside = _bubblewrap(access)
        case Level.LANDLOCK:
            options |= {"death_signal": True, "landlock": _landlock(access)}
        case Level.NONE:
            options |= {"death_signal": True}
    return [*outside, python, str(LAUNCHER), json.dumps(options), *arguments]


def _bubblewrap(access: Access) -> list[str]:
    etc = _ETC + (_NETWORK_ETC if access.network else ())
    return [
        shutil.which("bwrap") or "bwrap",
        *_namespaces(network=access.network),
        *_binds("--ro-bind-try", (*_SYSTEM, *etc)),
        "--proc",
        "/proc",
        "--dev",
        "/dev",
        *_binds("--dev-bind-try", _devices()),
        *_binds("--ro-bind-try", ("/sys",)),
        "--tmpfs",
        "/tmp",  # noqa: S108  the sandbox's own
        *_binds("--ro-bind-try", (*map(str, access.read_only), str(LAUNCHER))),
        *_binds("--bind", map(str, access.writable)),
    ]


def _namespaces(*, network: bool) -> list[str]:
    flags = ["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    if not network:
        flags.append("--unshare-net")
    return [*flags, "--hostname", "comfyui", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]


def _binds(kind: str, paths: Iterable[str]) -> list[str]:
    return [word for path in paths for word in (kind, path, path)]


def _devices() -> list[str]:
    return sorted({str(path) for pattern in _GPU_DEVICES for path in Path("/dev").glob(pattern)})


def _landlock(access: Access) -> dict[str, object]:
    etc = _ETC + (_NETWORK_ETC if access.network else ())
    proc = ("/proc/self", *(f"/proc/{name}" for name in _PROC_FILES))
    devices = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom", "/dev/shm", "/dev/tty", *_devices())  # noqa: S108
    return {
        "read": [*_SYSTEM, *etc, *proc, "/sys", *map(str, access.read_only), str(LAUNCHER)],
        "write": [*devices, *map(str, access.writable)],
        "network": access.network,
    }
