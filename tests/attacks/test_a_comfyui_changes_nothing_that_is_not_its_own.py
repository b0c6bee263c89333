"""A ComfyUI whose code is hostile tries what needs no permission to open a file: attributes of files, limits and
scheduling of processes, objects of the kernel that outlive whoever made them, and folders that others write to."""

from __future__ import annotations

import ctypes
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.attacked import LEVELS, NOBODY, SYSTEM_PYTHON, Attacked, attacked

MIB = 1 << 20
KEY = 0x0C0FF1E
IPC_RMID, SYS_MQ_UNLINK = 0, 241  # sys/ipc.h; the calls of x86-64

ATTRIBUTES = """
import ctypes, fcntl, os, struct
path = {path!r}
attempt("size", lambda: os.stat(path).st_size)
attempt("chmod", lambda: os.chmod(path, 0))
attempt("chown", lambda: os.chown(path, -1, os.getgid()))
attempt("utime", lambda: os.utime(path, (1, 1)))
attempt("xattr", lambda: os.setxattr(path, "user.harm", b"x"))
libc, name = ctypes.CDLL(None), path.encode()
attempt("fchmodat", lambda: libc.syscall(268, -100, name, 0))
attempt("fchmodat2", lambda: libc.syscall(452, -100, name, 0, 0))
attempt("lchown", lambda: libc.syscall(94, name, -1, os.getgid()))
attempt("fchownat", lambda: libc.syscall(260, -100, name, -1, os.getgid(), 0))
attempt("utime of before", lambda: libc.syscall(132, name, None))
attempt("utimes", lambda: libc.syscall(235, name, None))
attempt("futimesat", lambda: libc.syscall(261, -100, name, None))
attempt("lsetxattr", lambda: libc.syscall(189, name, b"user.harm", b"x", 1, 0))
def of_an_open_one():
    opened = os.open("/usr/bin/env", os.O_RDONLY)
    os.fchmod(opened, 0)
attempt("fchmod", of_an_open_one)
attempt("own", lambda: open(base / "output" / "own.txt", "w").write("made"))
attempt("own mode", lambda: os.chmod(base / "output" / "own.txt", 0o600))
found["made"] = (base / "output" / "own.txt").read_text()
"""

OTHER_PROCESSES = """
import ctypes, os, resource
libc, pid = ctypes.CDLL(None, use_errno=True), {pid}
attempt("its own limits", lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100)))
attempt("its own priority", lambda: os.nice(1))
attempt("its own processors", lambda: os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}}))
found["own"] = [resource.getrlimit(resource.RLIMIT_NOFILE)[0], os.getpriority(os.PRIO_PROCESS, 0)]
attempt("limits", lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, 3)))
attempt("priority", lambda: os.setpriority(os.PRIO_PROCESS, pid, 19))
attempt("user's priority", lambda: os.setpriority(os.PRIO_USER, os.getuid(), 19))
attempt("group's priority", lambda: os.setpriority(os.PRIO_PGRP, {group}, 19))
attempt("processors", lambda: os.sched_setaffinity(pid, {{min(os.sched_getaffinity(0))}}))
attempt("scheduler", lambda: os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0)))
attempt("priority of reading", lambda: libc.syscall(251, 1, pid, 3 << 13))
"""

SHARED_OBJECTS = f"""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def call(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "call")
    return result
attempt("memory", lambda: call(libc.shmget({KEY}, 1 << 20, 0o1666)))
attempt("messages", lambda: call(libc.msgget({KEY}, 0o1666)))
attempt("semaphores", lambda: call(libc.semget({KEY}, 1, 0o1666)))
attempt("queue", lambda: call(libc.syscall(240, b"comfyward-attack", 0o102, 0o666, None)))
"""
LOOK_FOR_THEM = f"""
import ctypes
libc = ctypes.CDLL(None)
calls = [libc.shmget({KEY}, 0, 0), libc.msgget({KEY}, 0), libc.semget({KEY}, 0, 0)]
found["seen"] = [*calls, libc.syscall(240, b"comfyward-attack", 0, 0, None)]
"""

FOLDERS = """
import os
workspace = base.parent
for name in ("output", "temp", "input", "models", "user", "source"):
    attempt(f"move {name}", lambda: os.rename(workspace / name, workspace / "temp" / "moved"))
    attempt(f"remove {name}", lambda: os.rmdir(workspace / name))
attempt("link", lambda: os.symlink("/etc", workspace / "out"))
attempt("log", lambda: open(workspace / "comfyui.log", "r+"))
attempt("settings", lambda: open(workspace / "extra_paths.yaml", "r+"))
"""

WATCHES = """
import ctypes
libc = ctypes.CDLL(None)
watching = libc.inotify_init1(0)
found["watch"] = libc.inotify_add_watch(watching, {path!r}.encode(), 0x100)
"""

FILES_IN_MEMORY = f"""
import os, time
held = []
for number in range(100):
    written = os.memfd_create("held")
    os.write(written, bytes({8 * MIB}))
    held.append(os.open(f"/proc/self/fd/{{written}}", os.O_RDONLY))
    os.close(written)
time.sleep(60)
"""


@pytest.fixture(params=LEVELS, ids=lambda each: "-".join(each))
def worker(request: pytest.FixtureRequest) -> Iterator[Attacked]:
    yield from attacked(*request.param)


def test_attributes_of_files_stay_as_they_are(worker: Attacked) -> None:
    path = Path(tempfile.mkdtemp(dir=worker.folder)) / "of-the-workers-user"
    path.parent.chmod(0o777)
    path.write_text("a model that others use")
    owner = 0 if worker.user == "root" else NOBODY
    os.chown(path, owner, owner)
    before = attributes(path)

    [found] = worker.run(ATTRIBUTES.format(path=str(path)))

    assert attributes(path) == before
    assert (found["size"] == path.stat().st_size) is (worker.level == "landlock")  # names, sizes and times can be seen
    assert (found["own"], found["made"]) == (4, "made")
    assert found["own mode"] is None


def test_limits_and_scheduling_of_other_processes_stay_as_they_are(worker: Attacked) -> None:
    user = {} if worker.user == "root" else {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    command = [SYSTEM_PYTHON, "-c", "input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, process_group=0, **user) as server:  # type: ignore[call-overload]
        before = scheduling(server.pid)
        [found] = worker.run(OTHER_PROCESSES.format(pid=server.pid, group=server.pid))
        after = scheduling(server.pid)
        server.kill()

    assert after == before
    assert found["own"] == [100, 1]


def test_its_folders_stay_where_the_worker_reads_them(worker: Attacked) -> None:
    [found] = worker.run(FOLDERS)

    tried = {name: value for name, value in found.items() if name != "outlived"}
    assert len(tried) == 15
    assert {name for name, value in tried.items() if not str(value).startswith("refused")} == set()


def test_no_object_of_the_kernel_is_left_or_found(worker: Attacked, objects_removed: None) -> None:
    left, looked = worker.run(SHARED_OBJECTS, LOOK_FOR_THEM)

    assert looked["seen"] == [-1] * 4
    assert str(left["memory"]).startswith("refused")
    assert [kind for kind in ("shm", "msg", "sem") if str(KEY) in Path(f"/proc/sysvipc/{kind}").read_text()] == []


def test_no_folder_of_others_is_watched(worker: Attacked) -> None:
    folder = Path(tempfile.mkdtemp(dir=worker.folder))
    folder.chmod(0o777)

    [found] = worker.run(WATCHES.format(path=str(folder)))

    assert found["watch"] == -1


def test_files_in_memory_that_nobody_maps_count(worker: Attacked) -> None:
    [found] = worker.run(FILES_IN_MEMORY, memory_bytes=400 * MIB)

    assert found["over_limit"] == "The run used more than 400 MiB of memory."


@pytest.fixture
def objects_removed() -> Iterator[None]:
    """One that an attack did leave is of the host: it would make all later runs of this test fail."""
    yield
    libc = ctypes.CDLL(None)
    libc.shmctl(libc.shmget(KEY, 0, 0), IPC_RMID, None)
    libc.msgctl(libc.msgget(KEY, 0), IPC_RMID, None)
    libc.semctl(libc.semget(KEY, 0, 0), 0, IPC_RMID)
    libc.syscall(SYS_MQ_UNLINK, b"comfyward-attack")


def attributes(path: Path) -> list[object]:
    """Everything about a file but its bytes. The last change to any of it has a time that nobody can set."""
    status = path.stat()
    return [status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, status.st_ctime_ns, os.listxattr(path)]


def scheduling(pid: int) -> list[object]:
    """Everything about a process that another one of its user could change."""
    limits = Path(f"/proc/{pid}/limits").read_text()
    reading = subprocess.run(["ionice", "-p", str(pid)], capture_output=True, text=True, check=True).stdout
    return [
        limits,
        os.getpriority(os.PRIO_PROCESS, pid),
        os.sched_getaffinity(pid),
        os.sched_getscheduler(pid),
        reading,
    ]
