"""Imports libraries that ComfyUI and packs use, in a fork that goes on as the parent if all went well.

A library may fail, hang, end the process, or do what a fork does not survive: start threads or processes, initialize
CUDA. One that asks for a GPU would remember that the parent has none. Whatever does any of this is left out: the fork
is ended, and another one begins without it.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import sys
import time
from typing import Any, Callable, Dict, Iterator, List, NoReturn, Sequence

from comfyward.sandbox.inside import descendants, imports, kernel

READ_TIMEOUT_S = 30.0
THREAD_END_S = 0.5

QUESTIONS = ("is_available", "device_count", "current_device", "get_device_name", "get_device_capability")

# library_s and all_s, for one import and all of them; memory_bytes, for all of them
Bounds = Dict[str, float]
WantedImports = Dict[str, List[Sequence[Any]]]


class Reading:
    """The imports of ComfyUI and packs, read in a process of its own: a source may be more than the parser survives."""

    def __init__(self, source: str, folders: Sequence[str], installed: Sequence[str]) -> None:
        self._end, told = os.pipe()
        self._deadline = time.monotonic() + READ_TIMEOUT_S
        self._pid = os.fork()
        if self._pid == 0:
            _exit_after(lambda: _write(told, imports.of_all(source, folders, installed)))
        os.close(told)

    def result(self) -> WantedImports:
        """The imports of each library; none if they could not be read."""
        text = b"".join(_chunks(self._end, lambda: self._deadline))
        os.close(self._end)
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        with contextlib.suppress(ValueError):
            wanted: WantedImports = json.loads(text)
            return wanted
        return {}


def go_on_with(wanted: WantedImports, bounds: Bounds, may_ask: bool) -> Dict[str, str]:
    """The libraries that were left out, with the reason, returned in a fork that has imported the others.

    This process waits for the end of that fork, and ends; only if no fork can be had, it returns itself.
    """
    left_out: Dict[str, str] = {}
    own, deadline = os.getpid(), time.monotonic() + bounds["all_s"]
    while wanted:
        end, told = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(end)
            if not kernel.die_with(own, signal.SIGKILL):
                os._exit(1)
            _import_all(wanted, told, Watch(may_ask), int(bounds["memory_bytes"]))
            return left_out
        os.close(told)
        trial = Trial(end, max(deadline, time.monotonic() + bounds["library_s"]), bounds["library_s"])
        if trial.is_good:
            _end_with(pid)
        descendants.kill_all()
        is_late = time.monotonic() > deadline or not trial.library
        kept = {name for name in wanted if name != trial.library and (name in trial.done or not is_late)}
        left_out.update(dict.fromkeys(wanted.keys() - kept, "there was no time left"))
        left_out[trial.library] = trial.fault
        wanted = {name: each for name, each in wanted.items() if name in kept}
    left_out.pop("", None)
    return left_out


class Trial:
    """The imports of a fork: those that are done, and the library and fault at which they ended."""

    def __init__(self, end: int, deadline: float, library_s: float) -> None:
        self._library_s = library_s
        self.done: List[str] = []
        self.library, self.fault, self.is_good = "", "ends the process", False
        self._until = self._deadline = deadline
        for line in _lines(_chunks(end, lambda: self._until)):
            self._take(*json.loads(line))
        os.close(end)
        if time.monotonic() > self._until and not self.is_good:
            self.fault = "takes too long"

    def _take(self, word: str, value: str, fault: str = "") -> None:
        if word == "begins":
            self.library, self._until = value, min(self._deadline, time.monotonic() + self._library_s)
        elif word == "imported":
            self.done.append(value)
        elif word == "fault":
            self.fault = fault
        self.is_good = word == "all"


def _import_all(wanted: WantedImports, told: int, watch: Watch, memory_bytes: int) -> None:
    with _more_memory(memory_bytes):
        for library, statements in wanted.items():
            _write(told, ("begins", library))
            fault = _fault_of(library, statements) or watch.fault()
            if fault:
                _write(told, ("fault", library, fault))
                os._exit(1)
            _write(told, ("imported", library))
    watch.end()
    _write(told, ("all", ""))
    os.close(told)


def _fault_of(library: str, statements: Sequence[Sequence[Any]]) -> str:
    """Imports what packs import from one library. A missing part of it is no fault: packs try other versions."""
    for module, names in statements:
        try:
            __import__(module, {}, {}, list(names), 0)
        except ModuleNotFoundError as error:
            if not (error.name or "").startswith(f"{library}."):
                return _text(error)
        except BaseException as error:  # a library may do anything
            return _text(error)
    return ""


class Watch:
    """Notices what imported libraries do that a fork does not survive, or would remember wrongly."""

    def __init__(self, may_ask: bool) -> None:
        """With `may_ask` a question for a GPU is answered as it would be in a fork: there is none."""
        self._asked, self._may_ask = False, may_ask
        self._cuda = getattr(sys.modules.get("torch"), "cuda", None)
        self._originals = {name: getattr(self._cuda, name) for name in QUESTIONS if hasattr(self._cuda, name)}
        for name, original in self._originals.items():
            setattr(self._cuda, name, self._noticing(original))

    def end(self) -> None:
        """Gives the questions back to their library."""
        for name, original in self._originals.items():
            setattr(self._cuda, name, original)

    def fault(self) -> str:
        """The hindrance so far; "" if there is none."""
        return "asks for a GPU" if self._asked and not self._may_ask else hindrance()

    def _noticing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def asked(*arguments: Any, **named: Any) -> Any:
            self._asked = True
            return original(*arguments, **named)

        return asked


def hindrance() -> str:
    """Something that a library has done, and that makes this process unfit to be forked; "" if it is fit."""
    if has_cuda():
        return "initializes CUDA"
    if has_children():
        return "starts processes"
    return "" if is_alone() else "starts threads"


def has_cuda() -> bool:
    """True if a library has initialized CUDA, which does not survive a fork."""
    torch = sys.modules.get("torch")
    return bool(torch and torch.cuda.is_initialized())


def has_children() -> bool:
    """True if this process has children: those that it started, or that these left to it."""
    descendants.reap()
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def is_alone() -> bool:
    """True if this process has one thread. Libraries that end theirs before each fork (OpenBLAS) are given one."""
    if _threads() > 1:
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
    until = time.monotonic() + THREAD_END_S
    while _threads() > 1 and time.monotonic() < until:
        time.sleep(0.001)  # the kernel still lists a thread that has just been joined
    return _threads() == 1


def memory_bytes() -> int:
    """The resident memory of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))


@contextlib.contextmanager
def _more_memory(most: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = _data_bytes() + most
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    yield
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _data_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[5]) * os.sysconf("SC_PAGE_SIZE")


def _end_with(pid: int) -> NoReturn:
    """Ends when the fork does, and kills what it left."""
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # the worker notices the fork's end by its socket
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
    descendants.kill_all()
    os._exit(0)


def _exit_after(act: Callable[[], object]) -> NoReturn:
    status = 1
    with contextlib.suppress(BaseException):
        act()
        status = 0
    os._exit(status)


def _chunks(end: int, until: Callable[[], float]) -> Iterator[bytes]:
    """The bytes that arrive at the end of a pipe, until it is closed or the time is over."""
    while select.select([end], [], [], max(0.0, until() - time.monotonic()))[0]:
        chunk = os.read(end, 1 << 16)
        if not chunk:
            return
        yield chunk


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole


def _write(end: int, value: object) -> None:
    data = json.dumps(value).encode() + b"\n"
    while data:
        data = data[os.write(end, data) :]


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:200]
