"""`comfyward`, forked from a process that has imported it: a Python of its own takes more than a second for that."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from comfyward.cli.main import main

_ORIGIN = multiprocessing.get_context("forkserver")
PRELOADED = (
    "comfyward.cli.serve",
    "comfyward.cli.worker",
    "uvicorn.lifespan.on",
    "pytest",
)  # the last: if it is __main__
_ORIGIN.set_forkserver_preload([__name__, *PRELOADED])


class Forked:
    """A process of the command, with what tests use of `Popen`. It ends with the process of the tests."""

    def __init__(self, *arguments: str, environment: Mapping[str, str], log: Path) -> None:
        log.touch()  # the process opens it some time later
        self._process = _ORIGIN.Process(target=_run, args=(arguments, dict(environment), log), daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if (code := self.returncode) is None:
            raise subprocess.TimeoutExpired("comfyward", timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _run(arguments: tuple[str, ...], environment: Mapping[str, str], log: Path) -> None:
    gc.freeze()  # the collector would visit, and so copy, all that was imported before
    threading.Thread(target=_end_with_the_tests, daemon=True).start()
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.close(output)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["comfyward", *arguments]
    main()


def _end_with_the_tests() -> None:
    """They may be killed. The process that this one was forked from lives as long as this one does."""
    tests = multiprocessing.parent_process()
    assert tests is not None
    tests.join()
    os.kill(os.getpid(), signal.SIGKILL)
