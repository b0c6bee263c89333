"""The device's memory: too little of it, a fault in it, and whether it is given back."""

from __future__ import annotations

import time

from bench.gpu import gpu, graphs
from bench.gpu.lab import SMALL, Lab
from bench.gpu.report import Outcome
from bench.gpu.server import Failed

HELD_SHARE = 0.3
FAULTS_S = 3.0  # of the run of another process, during which the fault happens
SETTLE_S = 10.0
NO_MEMORY = "the device's memory: no GPU"


def out_of_memory(lab: Lab) -> Outcome:
    """More than the device has: freed, tried again in the same process, and then it fits."""
    facts = lab.account("holder").facts(graphs.of("GpuCheckOutOfMemory", name="once", times=1, share=0.6))
    _expect(facts["attempt"] == 2, f"a second attempt was expected: {facts}")
    figures = {"attempts": facts["attempt"], "second_attempt_took_bytes": facts["taken_bytes"]}
    return _outcome(lab, figures, "a real out-of-memory: pretended, no GPU")


def larger_pool(lab: Lab) -> Outcome:
    """A run that does not fit into a small pool's memory moves to the larger one, and fits."""
    lab.has_small_worker()
    graph = graphs.of("GpuCheckOutOfMemory", name="small", times=0, share=0.5)
    facts = lab.account("holder").facts(graph, accelerator=SMALL)
    _expect(not facts["is_small"], f"the run was to end in {lab.pool}: {facts}")
    return _outcome(lab, {"attempts": facts["attempt"], "ended_in": lab.pool}, NO_MEMORY)


def fault(lab: Lab) -> Outcome:
    """A device-side assert breaks one process: it is replaced, its run tried again, and another process is unhurt."""
    lab.has_small_worker()
    account, unhurt = lab.account("faulty"), lab.account("unhurt")
    before = account.facts(graphs.of("GpuCheckDevice"))
    beside = unhurt.submit(graphs.of("GpuCheckSleep", seconds=FAULTS_S), accelerator=SMALL)
    unhurt.wait_for(beside, "progress")
    processes = lab.server().comfyui_pids()
    after = account.facts(graphs.of("GpuCheckFault", name="once", times=1))
    others = unhurt.ended(beside)
    _expect(after["attempt"] == 2, f"a second attempt was expected: {after}")
    _expect(bool(processes - lab.server().comfyui_pids()), f"the broken process was used again: {before}, {after}")
    _expect(others["status"] == "COMPLETED" and others["attempt"] == 1, f"another process was hurt: {others}")
    lab.end_small_worker()
    return _outcome(lab, {"attempts": after["attempt"], "others": others["status"]}, "a real fault: pretended, no GPU")


def switch_of_account(lab: Lab) -> Outcome:
    """What one account's ComfyUI holds on the device is free once the next account's runs."""
    held = lab.account("holder").facts(graphs.of("GpuCheckHold", share=HELD_SHARE))
    processes = lab.server().comfyui_pids()
    began = time.monotonic()
    seen = lab.account("next").facts(graphs.of("GpuCheckDevice"))
    left = lab.server().comfyui_pids() & processes
    _expect(not left, f"processes of the first account's ComfyUI remain: {left}")
    figures = {"switch_s": round(time.monotonic() - began, 2)}
    if not lab.has_gpu:
        return Outcome(figures, (NO_MEMORY,))
    given_back = seen["free_bytes"] - held["free_bytes"]
    _expect(given_back > held["allocated_bytes"] * 0.9, f"held {held}, then {seen}")
    return Outcome({**figures, "held_bytes": held["allocated_bytes"], "given_back_bytes": given_back})


def nothing_left(lab: Lab) -> Outcome:
    """After the server has stopped, no process and no memory of it is on the device."""
    server = lab.server()
    server.stop()
    left = server.comfyui_pids()
    _expect(not left, f"processes remain: {left}")
    if not lab.has_gpu:
        return Outcome({"processes": 0}, (NO_MEMORY,))
    used = gpu.settled_bytes(lab.idle_bytes, time.monotonic() + SETTLE_S)
    figures = {"used_before_bytes": lab.idle_bytes, "used_after_bytes": used, "processes": sorted(gpu.processes())}
    _expect(used <= lab.idle_bytes + gpu.GIVEN_BACK, f"memory remains taken: {figures}")
    return Outcome(figures)


def _outcome(lab: Lab, figures: dict[str, object], without: str) -> Outcome:
    return Outcome(figures, () if lab.has_gpu else (without,))


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Failed(otherwise)
