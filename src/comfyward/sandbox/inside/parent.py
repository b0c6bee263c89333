"""A process that has imported libraries, and forks ComfyUI processes that need not import them again.

It runs in the sandbox, with ComfyUI's own Python, and imports only the standard library and what it is told. Requests
come on a socket, each with the files that its ComfyUI gets; it ends with the other end of that socket.

The libraries that packs import are read from the packs' sources (`imports`) and imported with care (`libraries`).

    {"ready": …} <- ; -> {"argv": …, "environment": …, "walls": …} + log, socket, cgroup
    <- {"started": …} + pidfd, door
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import importlib
import inspect
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any, Dict, List, NoReturn, Optional

from comfyward.sandbox.inside import descendants, kernel, landlock, libraries, limits, namespaces, recorder, seccomp

REQUEST_LIMIT = 1 << 20
MOST_FILES = 3  # of a request: log, listener, and the entrance of a cgroup where there are any
ALLOCATOR_S = 30.0
ALLOCATOR = """
import os, sys
sys.path.insert(0, sys.argv.pop(1))
import comfy.options
comfy.options.enable_args_parsing()
import cuda_malloc
print(os.environ.get("PYTORCH_CUDA_ALLOC_CONF", ""))
"""
LISTENER = 3  # the descriptor on which a ComfyUI finds the socket that it listens on


def main(options: Dict[str, Any]) -> None:
    """Serves requests until the other end of the control socket closes."""
    control = socket.socket(fileno=options["control"])
    control.set_inheritable(False)
    signal.signal(signal.SIGTERM, lambda *_: _end())
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGTERM, "parent death signal")
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1, "subreaper")
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1, "dumpable")  # a change of user has reset it; /proc/self needs it
    _forget_our_own(options["source"])
    _wall_in(options["walls"])
    ready = _import(options)
    signal.signal(signal.SIGTERM, lambda *_: _end())  # a library may have set its own
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGTERM, "parent death signal")
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1, "subreaper")
    _settle()
    own = os.getpid()
    try:
        control.send(json.dumps({"ready": {**ready, "memory_bytes": libraries.memory_bytes()}}).encode())
    except OSError:  # nobody needs it any more
        _end()
    while True:
        message, files, _, _ = socket.recv_fds(control, REQUEST_LIMIT, MOST_FILES)
        descendants.reap()
        if not message:
            _end()
        if os.fork() == 0:
            _become_child(own, control, json.loads(message), files)
        for descriptor in files:
            os.close(descriptor)


def _end() -> NoReturn:
    descendants.kill_all()
    os._exit(0)


def _wall_in(walls: Optional[Dict[str, Any]]) -> None:
    """Confines the parent itself, where no namespaces do: libraries are not ComfyUI, but foreign code as well."""
    if walls is not None:
        kernel.drop_capabilities()  # root would see other processes in /proc
        landlock.restrict(**walls["landlock"])
        seccomp.apply(sockets=walls["sockets"], apart=False)


def _forget_our_own(source: str) -> None:
    """ComfyUI finds neither our folder nor the current one on its path."""
    sys.path[:] = [path for path in sys.path if path not in ("", source)]


def _import(options: Dict[str, Any]) -> Dict[str, Any]:
    """Imports ComfyUI's libraries and those of packs. It may return in a fork, which goes on as the parent."""
    began = time.monotonic()
    installed = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    folders = {path: _changed_at(path) for path in (*installed, *options["packs"])}
    reading = libraries.Reading(options["comfyui"], options["packs"], installed) if options["libraries"] else None
    if options["has_gpu"] and options["libraries"]:
        _choose_allocator(options["comfyui"], options["arguments"])
    failed = _import_own(options["libraries"])
    wanted = reading.result() if reading is not None else {}
    for name in options["left_out"]:
        wanted.pop(name, None)
    hindrance = libraries.hindrance()
    if hindrance:
        return {"hindrance": hindrance}
    gc.freeze()
    left_out = libraries.go_on_with(wanted, options["bounds"], not options["has_gpu"])
    return {
        "took_ms": round((time.monotonic() - began) * 1000),
        "failed": failed,
        "imported": sorted(wanted.keys() - left_out.keys()),
        "left_out": left_out,
        "folders": folders,
    }


def _choose_allocator(comfyui: str, arguments: List[str]) -> None:
    """Has PyTorch loaded with the allocator that a ComfyUI of these arguments will ask for.

    PyTorch takes one when it is loaded, and fails at the first use of the GPU if it is asked for another one then.
    ComfyUI asks for it before it imports PyTorch, which here is imported already; so it says in a process of its own.
    """
    command = [sys.executable, "-c", ALLOCATOR, comfyui, *arguments]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        told = subprocess.run(command, stdout=subprocess.PIPE, timeout=ALLOCATOR_S, check=True).stdout.decode()
        chosen = told.splitlines()[-1]  # ComfyUI may have said something before
        if chosen:
            os.environ["PYTORCH_CUDA_ALLOC_CONF"] = chosen


def _import_own(names: List[str]) -> Dict[str, str]:
    """The libraries that are missing, with the error. Without one of the first two, the others are not tried."""
    failed: Dict[str, str] = {}
    for name in names:
        try:
            importlib.import_module(name)
        except BaseException as error:  # a library may do anything; ComfyUI reports what it lacks itself
            failed[name] = repr(error)[:200]
        if failed.keys() & set(names[:2]):
            break
    return failed


def _changed_at(folder: str) -> int:
    """The time at which something was added to the folder, or removed from it; 0 if it does not exist."""
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return 0


def _settle() -> None:
    """Does once what each ComfyUI would do, and moves what there is to where it stays shared with the forks."""
    with contextlib.suppress(Exception):
        inspect.getmodule(None, "/nonexistent")  # remembers the file of each module; torch asks for it
    gc.collect()
    gc.freeze()  # what is never collected is never written to


def _become_child(parent: int, control: socket.socket, request: Dict[str, Any], files: List[int]) -> NoReturn:
    """Runs in the fork: builds the walls, and runs ComfyUI in another fork inside them."""
    status = 1
    files, entrances = files[:2], files[2:]
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.setsid()
        _enter_cgroup(entrances)
        if request["walls"]["namespaces"]:
            _enter_namespaces(control, request, files)
        else:
            status = _keep(parent, control, request, files)
    except BaseException as error:
        with contextlib.suppress(OSError):
            control.send(json.dumps({"error": f"{type(error).__name__}: {error}"}).encode())
    os._exit(status)


def _enter_cgroup(entrances: List[int]) -> None:
    """Moves this process, and so everything that it starts, into a cgroup. Whoever opened it had the right to."""
    for entrance in entrances:
        os.write(entrance, b"0")
        os.close(entrance)


def _enter_namespaces(control: socket.socket, request: Dict[str, Any], files: List[int]) -> None:
    """Starts process 1 of new namespaces, tells of it once its walls stand, and leaves it alone."""
    plan = request["walls"]["namespaces"]
    namespaces.enter(plan["network"])
    doors = [namespaces.door()] if plan["has_door"] else []
    standing, told = os.pipe()
    first = os.fork()
    if first == 0:
        for opened in (control, *doors):
            opened.close()
        os.close(standing)
        _be_first(request, files, told)
    os.close(told)
    with os.fdopen(standing, "rb") as pipe:
        error = pipe.read()
    if error:
        raise OSError(error.decode())
    _tell_of(control, first, *(door.fileno() for door in doors))


def _be_first(request: Dict[str, Any], files: List[int], told: int) -> NoReturn:
    """Process 1: everything in its namespaces ends with it, and it ends with ComfyUI."""
    walls = request["walls"]
    try:
        namespaces.build(walls["namespaces"])
        kernel.drop_capabilities()
        landlock.seclude()
        _confine(walls)
        comfyui = os.fork()
        if comfyui == 0:
            os.close(told)
            _run(request, files)
    except BaseException as error:
        os.write(told, f"{type(error).__name__}: {error}".encode())
        os._exit(1)
    os.close(told)
    _close_all(keep=0)
    while True:
        pid, status = os.wait()
        if pid == comfyui:
            os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _keep(parent: int, control: socket.socket, request: Dict[str, Any], files: List[int]) -> int:
    """The exit status of ComfyUI, once nothing that it started is left. SIGTERM kills them all.

    A keeper that is killed itself takes ComfyUI with it.
    """
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1, "subreaper")
    awaited = {signal.SIGCHLD, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    keeper = os.getpid()
    if not kernel.die_with(parent, signal.SIGTERM):
        return 1
    comfyui = os.fork()
    if comfyui == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, awaited)
        _run_confined(keeper, control, request, files)
    _tell_of(control, keeper)
    control.close()
    _close_all(keep=0)
    while True:
        if signal.sigwait(awaited) == signal.SIGTERM or comfyui in descendants.reap():
            descendants.kill_all()
            return 0


def _run_confined(keeper: int, control: socket.socket, request: Dict[str, Any], files: List[int]) -> NoReturn:
    walls = request["walls"]
    try:
        control.close()
        if walls["landlock"]:
            landlock.restrict(**walls["landlock"])
        _confine(walls)
        if not kernel.die_with(keeper, signal.SIGKILL):
            os._exit(1)
    except BaseException as error:
        os.write(files[0], f"The sandbox failed: {type(error).__name__}: {error}\n".encode())
        os._exit(1)
    _run(request, files)


def _confine(walls: Dict[str, Any]) -> None:
    limits.apply(walls["limits"])
    kernel.forbid_new_privileges()
    if walls["seccomp"]:
        seccomp.apply(sockets=walls["sockets"], apart=bool(walls["namespaces"]))


def _tell_of(control: socket.socket, pid: int, *doors: int) -> None:
    """Sends a descriptor of the process, which stands for no other, even if its number is used again; and its door."""
    descriptor = os.pidfd_open(pid)
    socket.send_fds(control, [json.dumps({"started": pid}).encode()], [descriptor, *doors])
    os.close(descriptor)


def _run(request: Dict[str, Any], files: List[int]) -> NoReturn:
    """Becomes ComfyUI, as if its Python had just started."""
    status = 1
    try:
        _take_files(*files)
        os.setsid()
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["folder"])
        if request["record"]:
            recorder.begin(request["record"])
        tempfile.tempdir = None
        _seed()
        sys.argv = list(request["argv"])
        _name(sys.executable, *sys.argv)
        sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))
        runpy.run_path(sys.argv[0], run_name="__main__")
        status = 0
    except SystemExit as exit_:
        status = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(status)


def _name(*words: str) -> None:
    """Shows the words as this process's command line, where it fits into its parent's."""
    with open("/proc/self/stat") as file:
        start, end = map(int, file.read().rpartition(")")[2].split()[45:47])
    line = "\0".join(words).encode()[: end - start - 1]
    ctypes.memmove(start, line.ljust(end - start, b"\0"), end - start)


def _take_files(log: int, listener: int) -> None:
    """Standard output and error go to the log, descriptor 3 is the listener, and all others are closed."""
    nothing = os.open(os.devnull, os.O_RDWR)
    log, listener, nothing = (_above(descriptor) for descriptor in (log, listener, nothing))
    for descriptor, target in ((nothing, 0), (log, 1), (log, 2), (listener, LISTENER)):
        os.dup2(descriptor, target)
    _close_all(keep=LISTENER)


def _above(descriptor: int) -> int:
    """A copy of the descriptor that is in nobody's way."""
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD, 10)


def _close_all(keep: int) -> None:
    if keep == 0:
        nothing = os.open(os.devnull, os.O_RDWR)
        for target in (0, 1, 2):
            os.dup2(nothing, target)
    os.closerange(max(keep, 2) + 1, os.sysconf("SC_OPEN_MAX"))


def _seed() -> None:
    """Python seeds its own random numbers after a fork; NumPy's would be the same in every ComfyUI."""
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(int.from_bytes(os.urandom(4), "little"))
