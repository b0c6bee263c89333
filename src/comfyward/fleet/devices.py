"""The accelerators of this machine, and the names of their pools."""

from __future__ import annotations

import ctypes
import platform
import re
from dataclasses import dataclass

GIB = 1 << 30
NVML_NAME_BYTES = 96


@dataclass(frozen=True)
class Device:
    """One accelerator that a worker can own."""

    pool: str  # e.g. A100_40GB
    name: str  # e.g. NVIDIA A100-SXM4-40GB
    comfyui_args: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()


def find_devices() -> list[Device]:
    """One device per NVIDIA GPU, or else Apple's GPU, or else the CPU."""
    gpus = [
        Device(pool_name(name, memory), name, (), (("CUDA_VISIBLE_DEVICES", uuid),))
        for name, memory, uuid in _nvidia_gpus()
    ]
    if gpus:
        return gpus
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return [Device("MPS", "Apple MPS")]
    return [Device("CPU", _cpu_name(), ("--cpu",))]


def pool_name(device: str, memory_bytes: int) -> str:
    """ComfyICU's name for a GPU if it has one, otherwise the model's.

    >>> pool_name("NVIDIA A100-SXM4-40GB", 42_949_672_960)
    'A100_40GB'
    >>> pool_name("NVIDIA GeForce RTX 4090", 25_757_220_864)
    'RTX_4090'
    """
    model = re.sub(r"^(NVIDIA|Tesla|Quadro|GeForce|Graphics Device)\s+", "", device.replace("NVIDIA ", "", 1))
    model = model.removeprefix("GeForce ").removeprefix("Tesla ")
    known = re.match(r"(T4|L40S|L40|L4|A10G|A100|A10|H100|H200|B200)(?![0-9A-Za-z])", model)
    if known is None:
        return re.sub(r"[^A-Za-z0-9]+", "_", model).strip("_") or "GPU"
    if known[1] == "A100":
        return "A100_80GB" if memory_bytes > 60 * GIB else "A100_40GB"
    return known[1]


def _nvidia_gpus() -> list[tuple[str, int, str]]:
    """(name, memory in bytes, uuid) of each GPU, from the driver's library (NVML)."""
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
        return [gpu for index in range(count.value) if (gpu := _nvidia_gpu(nvml, index)) is not None]
    finally:
        nvml.nvmlShutdown()


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def _nvidia_gpu(nvml: ctypes.CDLL, index: int) -> tuple[str, int, str] | None:
    handle, memory = ctypes.c_void_p(), _Memory()
    name, uuid = ctypes.create_string_buffer(NVML_NAME_BYTES), ctypes.create_string_buffer(NVML_NAME_BYTES)
    if nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)) != 0:
        return None
    nvml.nvmlDeviceGetName(handle, name, NVML_NAME_BYTES)
    nvml.nvmlDeviceGetUUID(handle, uuid, NVML_NAME_BYTES)
    nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory))
    return name.value.decode(), int(memory.total), uuid.value.decode()


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            found = re.search(r"^model name\s*: (.+)$", file.read(), re.MULTILINE)
    except OSError:
        return platform.processor() or "CPU"
    return found[1].strip() if found else platform.machine()
