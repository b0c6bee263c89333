"""The process above a worker that was started by hand: like a host, it replaces a worker that stands still.

It forks the worker, passes signals on to it, and ends as it does. It has no event loop that could stand still.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import sys

from comfyward.worker import pulse
from comfyward.worker.pulse import Listener, die_with

log = logging.getLogger(__name__)

PASSED_ON = (signal.SIGTERM, signal.SIGINT)


def watched() -> int:
    """The pipe of the pulse. It returns in the worker alone, which is a fork of this process; this one watches it."""
    watcher = os.getpid()
    while True:
        heard, beaten = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
        worker = os.fork()
        if worker == 0:
            os.close(heard)
            _begin_worker(watcher)
            return beaten
        os.close(beaten)
        _watch(worker, heard)
        os.close(heard)
        log.error("the worker stands still; it is replaced", extra={"action": "worker_silent"})


def _begin_worker(watcher: int) -> None:
    die_with(watcher)
    os.setsid()  # a terminal's signals reach it by its watcher, once
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)


def _watch(worker: int, heard: int) -> None:
    """Returns once it has killed a silent worker; ends this process when the worker ends."""
    listener = Listener(heard)
    handle = os.pidfd_open(worker)

    def pass_on(number: int, _: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, number)

    for number in PASSED_ON:
        signal.signal(number, pass_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
    while not listener.is_silent():
        ended, _, _ = select.select([handle], [], [], pulse.SILENT_S / 4)
        if ended:
            _end_as(os.waitpid(worker, 0)[1])
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)  # until there is another worker
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)
    os.close(handle)


def _end_as(status: int) -> None:
    """Ends this process as the worker ended."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    sys.exit(os.WEXITSTATUS(status))
