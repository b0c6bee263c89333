"""The device: its names and nodes, and ComfyUI's starts inside each kind of walls with the device in it."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from bench.gpu import gpu, graphs
from bench.gpu.lab import PACK, Lab
from bench.gpu.report import Outcome
from bench.gpu.server import Failed
from comfyward.comfy import parent
from comfyward.comfy.client import ComfyClient
from comfyward.comfy.consumption import with_descendants
from comfyward.comfy.install import existing
from comfyward.comfy.parents import ComfyParents
from comfyward.comfy.process import ComfyProcess, ComfySpec
from comfyward.errors import SetupFailed
from comfyward.fleet.devices import find_devices
from comfyward.sandbox import walls

POLL_S = 0.02


def names(lab: Lab) -> Outcome:
    """NVML's names, their pools, and the nodes that a sandbox is to show."""
    found = find_devices()
    lab.pool = found[0].pool
    figures: dict[str, Any] = {
        "pools": [each.pool for each in found],
        "devices": [each.name for each in found],
        "nodes": walls._devices(),
        "driver libraries": sorted({str(path) for path in _driver_libraries()}),
    }
    if not lab.has_gpu:
        return Outcome(figures, ("NVML's names and device nodes: no GPU",))
    card = gpu.card()
    figures |= {"nvidia-smi": card and card.name, "driver": card and card.driver}
    if found[0].pool == "CPU":
        raise Failed(f"there is a GPU ({card}), but no device of it was found")
    if not any("nvidia-uvm" in node for node in figures["nodes"]):
        raise Failed(f"/dev/nvidia-uvm is missing among {figures['nodes']}")
    return Outcome(figures)


def _driver_libraries() -> list[Path]:
    maps = Path("/proc/self/maps").read_text().splitlines()
    return [Path(line.split()[-1]) for line in maps if "libnvidia-ml" in line]


def bubblewrap(lab: Lab) -> Outcome:
    return _starts(lab, walls.Level.BUBBLEWRAP, plain=False)


def landlock(lab: Lab) -> Outcome:
    return _starts(lab, walls.Level.LANDLOCK, plain=False)


def without_walls(lab: Lab) -> Outcome:
    """With a plain start: no parent to be forked from."""
    return _starts(lab, walls.Level.NONE, plain=True)


def best_walls(lab: Lab) -> Outcome:
    """Where there is no GPU, only the walls that this machine would get."""
    return _starts(lab, walls.choose("auto"), plain=False)


def _starts(lab: Lab, level: walls.Level, *, plain: bool) -> Outcome:
    try:
        if level is not walls.Level.NONE:
            walls.choose(level.value)
    except SetupFailed as error:
        return Outcome({}, (f"{level}: {error.message} (kernel's Landlock: {walls.landlock.abi()})",))
    figures = asyncio.run(_measure(lab, level, plain=plain))
    missing = () if lab.has_gpu else (f"CUDA in a ComfyUI inside {level}: no GPU",)
    if lab.has_gpu and not figures["seen"].get("gpu"):
        raise Failed(f"inside {level} PyTorch sees no GPU: {figures}")
    if figures["parents_on_gpu"]:
        raise Failed(f"a parent is on the GPU, and CUDA does not survive a fork: {figures}")
    return Outcome(figures, missing)


async def _measure(lab: Lab, level: walls.Level, *, plain: bool) -> dict[str, Any]:
    """Seconds of the starts, and what a node sees in the last one."""
    home, device = lab.out / "work" / f"walls-{level}", find_devices()[0]
    home.mkdir(parents=True, exist_ok=True)
    spec = ComfySpec(
        existing(lab.comfyui, lab.python), home / "comfyui", level, False, device.comfyui_args, (), (PACK,), (),
        environment=device.environment,
    )  # fmt: skip
    figures: dict[str, Any] = {"level": level.value}
    if plain:
        figures |= {"uncompiled_s": await _bare(spec, home, {"PYTHONPYCACHEPREFIX": "/nonexistent"})}
        figures |= {"compiled_s": await _bare(spec, home, {})}
    parents = ComfyParents(home)
    try:
        first_s, _ = await _start(parents, spec)
        forked_s, seen = await _start(parents, spec)
        their = {pid for each in parents.processes for pid in with_descendants(each)}
        on_gpu = sorted(gpu.processes() & their) if lab.has_gpu else []
    finally:
        await parents.close()
    return {**figures, "first_s": first_s, "forked_s": forked_s, "seen": seen, "parents_on_gpu": on_gpu}


async def _bare(spec: ComfySpec, home: Path, variables: dict[str, str]) -> float:
    """The seconds of a start whose parent imports nothing."""
    libraries, of_parent = parent.LIBRARIES, parent._variables
    parent.LIBRARIES, parent._variables = (), _with(of_parent, variables)
    parents = ComfyParents(home / "bare")
    try:
        return (await _start(parents, replace(spec, base_dir=home / "bare" / "comfyui"), bare=True))[0]
    finally:
        parent.LIBRARIES, parent._variables = libraries, of_parent
        await parents.close()


def _with(of_parent: Callable[[Any], dict[str, str]], more: dict[str, str]) -> Callable[[Any], dict[str, str]]:
    return lambda environment: {**of_parent(environment), **more}


async def _start(parents: ComfyParents, spec: ComfySpec, bare: bool = False) -> tuple[float, dict[str, Any]]:
    """The seconds from nothing to an answer, and what the pack's node sees of the device."""
    spec.base_dir.mkdir(parents=True, exist_ok=True)
    process, began = ComfyProcess(spec, parents), time.monotonic()
    try:
        await process.start()
        took_s = round(time.monotonic() - began, 2)
        seen = {} if bare else await _seen(process)
        if parents._making is not None:
            await parents._making
        return took_s, seen
    finally:
        await process.stop()


async def _seen(process: ComfyProcess) -> dict[str, Any]:
    prompt_id, graph = str(uuid.uuid4()), graphs.of("GpuCheckDevice")
    async with ComfyClient(process.socket, "gpucheck") as client:
        await client.submit(prompt_id, msgspec.Raw(msgspec.json.encode(graph)), msgspec.Raw(b"null"), {})
        while (history := await client.history(prompt_id)) is None:
            await asyncio.sleep(POLL_S)
    if not history.succeeded:
        raise Failed(f"the node on the device failed: {history}\n{process.log_since(0)[-1500:]}")
    return dict(json.loads(history.outputs["1"]["text"][0]))
