"""A ComfyUI whose code is hostile tries the files, processes, sockets and kernel of its host, and of the next account's
ComfyUI, which is forked from the same parent."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.attacked import LEVELS, Attacked, attacked
from tests.servers import free_port

MARK = "left-by-the-first-account"

LEAVE_EVERYWHERE = f"""
import itertools, os
left = 0
places = ("/", "/tmp", "/dev", "/dev/shm", "/var/tmp", "/run", str(base), str(base.parent))
for folder, folders, files in itertools.chain.from_iterable(os.walk(place) for place in places):
    folders[:] = [name for name in folders if not (folder == "/" and name in ("proc", "sys"))]
    try:
        with open(os.path.join(folder, "{MARK}"), "w") as file:
            file.write("secret")
        left += 1
    except OSError:
        pass
found["left"] = left
import builtins, sys
builtins.{MARK.replace("-", "_")} = sys.modules["json"].poisoned = True
"""
LOOK_EVERYWHERE = f"""
import builtins, json, os
home = base.parent.parent
places = ("/", "/tmp", "/dev", "/dev/shm", "/var/tmp", "/run", str(base), str(home), str(home / "comfyui-0" / "output"))
found["names"] = [
    os.path.join(folder, "{MARK}") for place in places for folder, _, files in os.walk(place) if "{MARK}" in files
]
attempt("other file", lambda: open(home / "comfyui-0" / "output" / "{MARK}").read())
found["memory"] = hasattr(builtins, "{MARK.replace("-", "_")}") or hasattr(json, "poisoned")
attempt("other workspace", lambda: os.listdir(home / "comfyui-0" / "user"))
"""

KERNEL = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def call(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "call")
    return result
attempt("core_pattern", lambda: open("/proc/sys/kernel/core_pattern", "w").write("|/bin/true"))
attempt("overcommit", lambda: open("/proc/sys/vm/overcommit_memory", "w").write("1"))
attempt("sysrq", lambda: open("/proc/sysrq-trigger", "w"))
attempt("unshare user", lambda: call(libc.unshare(0x10000000)))
attempt("unshare mount", lambda: call(libc.unshare(0x00020000)))
attempt("clone user", lambda: call(libc.syscall(56, 0x10000000 | 17, 0, 0, 0, 0)) or os._exit(0))
attempt("clone3", lambda: call(libc.syscall(435, 0, 0)))
attempt("mount", lambda: call(libc.mount(b"none", b"/tmp", b"tmpfs", 0, b"")))
attempt("umount", lambda: call(libc.umount2(b"/tmp", 2)))
attempt("ptrace parent", lambda: call(libc.ptrace(16, os.getppid(), 0, 0)))
attempt("keyctl", lambda: call(libc.syscall(250, 0, -3, 0)))
attempt("bpf", lambda: call(libc.syscall(321, 0, 0, 0)))
attempt("io_uring", lambda: call(libc.syscall(425, 1, 0)))
attempt("mem of parent", lambda: open(f"/proc/{os.getppid()}/mem", "rb"))
attempt("setuid", lambda: os.setuid(0) or os.getuid())
names = ("CapEff", "CapBnd", "NoNew", "Seccomp:")
found["privileges"] = [line for line in open("/proc/self/status") if line.startswith(names)]
found["user"] = os.stat("/proc/self").st_uid
"""

PROCESSES = """
import os, signal
worker = {worker}
attempt("signal worker", lambda: os.kill(worker, 0))
attempt("signal server", lambda: os.kill({server}, 0))
attempt("signal parent", lambda: os.getppid() > 1 and os.kill(os.getppid(), signal.SIGCONT))
"""

NETWORK = """
import socket
def tcp():
    with socket.socket() as made:
        made.settimeout(2)
        made.connect(("127.0.0.1", {tcp}))
def udp():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.sendto(b"harm", ("127.0.0.1", {udp}))
        return "sent"
def unix():
    with socket.socket(socket.AF_UNIX) as made:
        made.connect("{path}")
        made.send(b"harm")
def abstract():
    with socket.socket(socket.AF_UNIX) as made:
        made.connect("\\0{abstract}")
        made.send(b"harm")
for act in (tcp, udp, unix, abstract):
    attempt(act.__name__, act)
"""

LISTEN = """
import socket
def listen():
    with socket.create_server(("127.0.0.1", {port})) as server:
        server.settimeout(2)
        server.accept()
attempt("listen", listen)
"""

DAEMONS = """
import os, subprocess, sys
sleeper = [sys.executable, "-c", "import time; time.sleep(600)", "cw-daemon"]
reading, writing = os.pipe()
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.setsid()
            subprocess.Popen(sleeper, start_new_session=True)
            os.write(writing, b".")
        os._exit(0)
found["started"] = len(b"".join(os.read(reading, 1) for _ in range(3)))
"""


@pytest.fixture(params=LEVELS, ids=lambda each: "-".join(each))
def worker(request: pytest.FixtureRequest) -> Iterator[Attacked]:
    yield from attacked(*request.param)


def test_nothing_of_one_account_is_found_by_the_next(worker: Attacked) -> None:
    left, looked = worker.run(LEAVE_EVERYWHERE, LOOK_EVERYWHERE)

    assert int(str(left["left"])) > 3
    assert looked["names"] == []
    assert looked["memory"] is False
    assert str(looked["other workspace"]).startswith("refused")
    assert str(looked["other file"]).startswith("refused")


def test_the_kernel_offers_nothing_that_containers_refuse(worker: Attacked) -> None:
    [found] = worker.run(KERNEL)

    tried = {name: value for name, value in found.items() if name not in ("privileges", "user", "setuid", "outlived")}
    if worker.level == "bubblewrap":
        del tried["mem of parent"]  # process 1 of its own namespace
    assert {name for name, value in tried.items() if not str(value).startswith("refused")} == set()
    capabilities, bounding, no_new, seccomp = (line.split()[1] for line in found["privileges"])  # type: ignore[attr-defined]
    assert (no_new, seccomp) == ("1", "2")
    if worker.level == "bubblewrap":
        assert int(capabilities, 16) == int(bounding, 16) == 0
        assert found["setuid"] != 0
    assert found["user"] != 0


def test_only_its_own_processes_can_be_signalled(worker: Attacked) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as server:
        [found] = worker.run(PROCESSES.format(worker=os.getpid(), server=server.pid))
        server.kill()

    assert str(found["signal worker"]).startswith("refused")
    assert str(found["signal server"]).startswith("refused")
    if worker.level == "landlock":  # else the parent is process 1 of its own namespace
        assert str(found["signal parent"]).startswith("refused")


def test_no_socket_of_the_host_is_reached(worker: Attacked) -> None:
    path = str(Path(tempfile.mkdtemp(dir=worker.folder)) / "host.sock")
    abstract = f"comfyward-attack-{os.getpid()}"
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_UNIX) as unix,
        socket.socket(socket.AF_UNIX) as unnamed,
    ):
        udp.bind(("127.0.0.1", 0))
        for listener, address in ((unix, path), (unnamed, f"\0{abstract}")):
            listener.bind(address)
            listener.listen()
        Path(path).parent.chmod(0o777)
        Path(path).chmod(0o777)
        places = {"tcp": tcp.getsockname()[1], "udp": udp.getsockname()[1], "path": path, "abstract": abstract}

        [found] = worker.run(NETWORK.format(**places))

        for listener in (tcp, udp, unix, unnamed):
            listener.setblocking(False)
        for listener in (tcp, unix, unnamed):
            with pytest.raises(BlockingIOError):
                listener.accept()
        with pytest.raises(BlockingIOError):
            udp.recv(10)
    assert str(found["tcp"]).startswith("refused")
    assert str(found["unix"]).startswith("refused")
    assert str(found["abstract"]).startswith("refused")


def test_no_port_of_the_host_is_listened_on(worker: Attacked) -> None:
    port, over = free_port(), threading.Event()

    def call_until_over() -> None:
        while not over.wait(0.01):
            with socket.socket() as caller:
                caller.connect_ex(("127.0.0.1", port))

    calling = threading.Thread(target=call_until_over)
    calling.start()
    try:
        [found] = worker.run(LISTEN.format(port=port))
    finally:
        over.set()
        calling.join()

    nobody_calls, no_socket = "refused: TimeoutError None", "refused: PermissionError 13"
    assert found["listen"] == (nobody_calls if worker.level == "bubblewrap" else no_socket)


@pytest.mark.parametrize("worker", [*LEVELS, ("none", "root"), ("none", "nobody")], ids="-".join, indirect=True)
def test_nothing_that_it_started_outlives_it(worker: Attacked) -> None:
    [found] = worker.run(DAEMONS)

    assert found["started"] == 3
    assert found["outlived"] == 0
