"""The accelerators of this machine, and the names of their pools."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GIB = 1 << 30
NVML_NAME_BYTES = 96
NODES_S = 30.0
UVM = Path("/dev/nvidia-uvm")  # without it CUDA does not start


@dataclass(frozen=True)
class Device:
    """One accelerator that a worker can own."""

    pool: str  # e.g. A100_40GB
    name: str  # e.g. NVIDIA A100-SXM4-40GB
    comfyui_args: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Gpu:
    """A GPU, or a slice of one (MIG), as the driver names it."""

    index: int  # of the whole GPU
    name: str
    memory_bytes: int
    uuid: str


def find_devices() -> list[Device]:
    """One device per NVIDIA GPU or slice of one, or else Apple's GPU, or else the CPU.

    As in every program that uses CUDA, CUDA_VISIBLE_DEVICES limits which of them there are.
    """
    gpus = visible(_nvidia_gpus(), os.environ.get("CUDA_VISIBLE_DEVICES"))
    if gpus:
        _make_nodes()
        return [
            Device(pool_name(gpu.name, gpu.memory_bytes), gpu.name, (), (("CUDA_VISIBLE_DEVICES", gpu.uuid),))
            for gpu in gpus
        ]
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return [Device("MPS", "Apple MPS")]
    return [Device("CPU", _cpu_name(), ("--cpu",))]


def visible(gpus: Sequence[Gpu], named: str | None) -> list[Gpu]:
    """The GPUs that CUDA_VISIBLE_DEVICES names, in its order: by index, or by the beginning of a UUID.

    Indices are in the order of the driver (CUDA_DEVICE_ORDER=PCI_BUS_ID). All if it is not set; as CUDA does, none from
    the first name on that is nobody's. (CUDA C++ Programming Guide, "CUDA Environment Variables".)
    """
    if named is None:
        return list(gpus)
    found: list[Gpu] = []
    for name in (each.strip() for each in named.split(",")):
        meant = [gpu for gpu in gpus if (str(gpu.index) == name if name.isdigit() else _is_uuid_of(name, gpu))]
        if not meant:
            break
        found += [gpu for gpu in meant if gpu not in found]
    return found


def _is_uuid_of(name: str, gpu: Gpu) -> bool:
    return name.startswith(("GPU-", "MIG-")) and gpu.uuid.startswith(name)


def _make_nodes() -> None:
    """Has the driver make what a host that has just started lacks: ComfyUI cannot in its sandbox, and would see no GPU.

    (nvidia-modprobe comes with the driver, for this; its manual: -c is the GPU's number, -u the module for memory.)
    """
    if not UVM.exists():
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(["nvidia-modprobe", "-c=0", "-u"], timeout=NODES_S, capture_output=True, check=False)


def pool_name(device: str, memory_bytes: int) -> str:
    """ComfyICU's name for a GPU if it has one, otherwise the model's.

    >>> pool_name("NVIDIA A100-SXM4-40GB", 42_949_672_960)
    'A100_40GB'
    >>> pool_name("NVIDIA GeForce RTX 4090", 25_757_220_864)
    'RTX_4090'
    >>> pool_name("NVIDIA A100-SXM4-40GB MIG 1g.5gb", 5_000_000_000)
    'A100_MIG_1G_5GB'
    """
    device, _, part = device.partition(" MIG ")
    if part:
        return re.sub(r"[^A-Z0-9]+", "_", f"{_model(device)[0]} MIG {part}".upper())
    model, is_known = _model(device)
    if model == "A100" and is_known:
        return "A100_80GB" if memory_bytes > 60 * GIB else "A100_40GB"
    return model


def _model(device: str) -> tuple[str, bool]:
    """The model of a GPU as part of a pool's name; True if it is one of ComfyICU's, or is named as they are."""
    model = re.sub(r"^(NVIDIA|Tesla|Quadro|GeForce|Graphics Device)\s+", "", device.replace("NVIDIA ", "", 1))
    model = model.removeprefix("GeForce ").removeprefix("Tesla ")
    known = re.match(r"(T4|L40S|L40|L4|A10G|A100|A10|H100|H200|B200)(?![0-9A-Za-z])", model)
    if known is None:
        return re.sub(r"[^A-Za-z0-9]+", "_", model).strip("_") or "GPU", False
    return known[1], True


def _nvidia_gpus() -> list[Gpu]:
    """Each GPU, or its slices if it is divided (MIG), from the driver's library (NVML)."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return []
    if nvml.nvmlInit_v2() != 0:
        return []
    try:
        count = ctypes.c_uint()
        if nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
            return []
        return [gpu for index in range(count.value) for gpu in gpus_of(nvml, index)]
    finally:
        nvml.nvmlShutdown()


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def gpus_of(nvml: Any, index: int) -> list[Gpu]:
    """The GPU of an index, its slices if it is divided: CUDA uses one slice at a time, by its own UUID; else none."""
    handle = ctypes.c_void_p()
    if nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)) != 0:
        return []
    slices = [_gpu(nvml, index, each) for each in _slices(nvml, handle)]
    return slices or [_gpu(nvml, index, handle)]


def _slices(nvml: Any, gpu: ctypes.c_void_p) -> list[ctypes.c_void_p]:
    """The slices into which a GPU is divided; none of one that cannot be, or by a driver that knows of none."""
    count, found = ctypes.c_uint(), []
    with contextlib.suppress(AttributeError):
        if nvml.nvmlDeviceGetMaxMigDeviceCount(gpu, ctypes.byref(count)) != 0:
            return []
        for number in range(count.value):
            part = ctypes.c_void_p()
            if nvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, number, ctypes.byref(part)) == 0:
                found.append(part)
    return found


def _gpu(nvml: Any, index: int, handle: ctypes.c_void_p) -> Gpu:
    memory = _Memory()
    name, uuid = ctypes.create_string_buffer(NVML_NAME_BYTES), ctypes.create_string_buffer(NVML_NAME_BYTES)
    nvml.nvmlDeviceGetName(handle, name, NVML_NAME_BYTES)
    nvml.nvmlDeviceGetUUID(handle, uuid, NVML_NAME_BYTES)
    nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory))
    return Gpu(index, name.value.decode(), int(memory.total), uuid.value.decode())


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            found = re.search(r"^model name\s*: (.+)$", file.read(), re.MULTILINE)
    except OSError:
        return platform.processor() or "CPU"
    return found[1].strip() if found else platform.machine()
