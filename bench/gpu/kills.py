"""kill -9 at every stage: nothing stays on the device, and the run ends well all the same."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from bench.gpu import gpu, graphs
from bench.gpu.lab import Lab
from bench.gpu.report import Outcome
from bench.gpu.server import Account, Failed, Server, facts_of

GONE_S = 10.0
BUSY_S = 2.0


def comfyui(lab: Lab) -> Outcome:
    """Of ComfyUI, while it executes."""
    return _killed(lab, lambda server: max(server.comfyui_pids()), lambda server, victim: {victim})


def worker(lab: Lab) -> Outcome:
    """Of the worker, while its ComfyUI executes."""
    return _killed(lab, Server.worker_pid, lambda server, _: server.comfyui_pids())


def starting(lab: Lab) -> Outcome:
    """Of the worker, while it starts: its parent imports libraries, or its ComfyUI is forked."""
    server, account = lab.server(), lab.account("warm")
    os.kill(server.worker_pid(), signal.SIGKILL)
    first = _next_worker(server)
    time.sleep(1.0)
    os.kill(first, signal.SIGKILL)
    facts = account.facts(graphs.of("GpuCheckDevice"))
    return Outcome({"attempts": facts["attempt"]}, () if lab.has_gpu else ("the device afterwards: no GPU",))


def server(lab: Lab) -> Outcome:
    """Of the server: its workers and their ComfyUI end with it."""
    serving = lab.server()
    _busy(lab.account("warm"))
    before = serving.comfyui_pids()
    serving.kill()
    left = _wait_gone(lab, before)
    serving.stop()
    if left:
        raise Failed(f"processes remain: {left}")
    return _outcome(lab, {"processes_ended": len(before)}, is_idle=True)


def _killed(lab: Lab, chosen: Callable[[Server], int], with_it: Callable[[Server, int], set[int]]) -> Outcome:
    """`with_it` are the processes that must end with the chosen one."""
    serving, account = lab.server(), lab.account("warm")
    run_id = _busy(account)
    victim = chosen(serving)
    before = with_it(serving, victim)
    os.kill(victim, signal.SIGKILL)
    left = _wait_gone(lab, before)
    if left:
        raise Failed(f"processes of the killed one remain: {left}")
    facts = facts_of(account.ended(run_id))
    if facts["attempt"] != 2:
        raise Failed(f"a second attempt was expected: {facts}")
    return _outcome(lab, {"processes_ended": len(before), "attempts": facts["attempt"]}, is_idle=False)


def _busy(account: Account) -> str:
    """A run that keeps the device busy now."""
    run_id = account.submit(graphs.of("GpuCheckSleep", seconds=BUSY_S))
    account.wait_for(run_id, "progress")
    return run_id


def _next_worker(serving: Server) -> int:
    while True:
        try:
            return serving.worker_pid()
        except ValueError:
            time.sleep(0.05)


def _wait_gone(lab: Lab, pids: set[int]) -> set[int]:
    """Those that still are, or hold the device, when the time is up."""
    deadline = time.monotonic() + GONE_S
    while (
        left := gpu.alive(pids) | (gpu.processes() & pids if lab.has_gpu else set())
    ) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def _outcome(lab: Lab, figures: dict[str, object], *, is_idle: bool) -> Outcome:
    if not lab.has_gpu:
        return Outcome(figures, ("the device afterwards: no GPU",))
    if is_idle:
        used = gpu.settled_bytes(lab.idle_bytes, time.monotonic() + GONE_S)
        figures = {**figures, "used_bytes": used, "used_before_bytes": lab.idle_bytes}
        if used > lab.idle_bytes + gpu.GIVEN_BACK:
            raise Failed(f"the device's memory remains taken: {figures}")
    return Outcome({**figures, "on_the_device": sorted(gpu.processes())})
