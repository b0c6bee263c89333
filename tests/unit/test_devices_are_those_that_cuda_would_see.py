"""GPUs as the driver's library tells of them, those that CUDA_VISIBLE_DEVICES names, and slices of a divided one."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from comfyward.fleet.devices import Gpu, gpus_of, pool_name, visible

A, B = Gpu(0, "NVIDIA L4", 24 << 30, "GPU-aaaa"), Gpu(1, "NVIDIA L4", 24 << 30, "GPU-bbbb")
SLICES = [Gpu(2, "NVIDIA A100 MIG 1g.5gb", 5 << 30, f"MIG-{letter}") for letter in "xy"]
ALL = [A, B, *SLICES]


@pytest.mark.parametrize(
    ("named", "found"),
    [
        (None, ALL),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("1", [B]),
        ("1, 0", [B, A]),
        ("GPU-b", [B]),
        ("MIG-y", SLICES[1:]),
        ("2", SLICES),
        ("0,7,1", [A]),  # none from the first wrong one on, as CUDA has it
        ("0,0", [A]),
    ],
)
def test_only_devices_that_cuda_would_see_are_used(named: str | None, found: list[Gpu]) -> None:
    assert visible(ALL, named) == found


class Driver:
    """NVML's functions, on GPUs that are lists of slices: an empty one is undivided."""

    def __init__(self, *gpus: list[str]) -> None:
        self._names = {index + 1: "NVIDIA A100-SXM4-40GB" for index in range(len(gpus))}
        self._slices = {index + 1: [100 * (index + 1) + n for n in range(len(each))] for index, each in enumerate(gpus)}
        for index, each in enumerate(gpus):
            self._names |= {100 * (index + 1) + n: name for n, name in enumerate(each)}

    def nvmlDeviceGetHandleByIndex_v2(self, index: int, handle: Any) -> int:
        return self._put(handle, index + 1, index < len(self._slices))

    def nvmlDeviceGetMaxMigDeviceCount(self, gpu: ctypes.c_void_p, count: Any) -> int:
        count._obj.value = 7
        return 0

    def nvmlDeviceGetMigDeviceHandleByIndex(self, gpu: ctypes.c_void_p, number: int, handle: Any) -> int:
        slices = self._slices[int(gpu.value or 0)]
        return self._put(handle, slices[number] if number < len(slices) else 0, number < len(slices))

    def nvmlDeviceGetName(self, handle: ctypes.c_void_p, text: Any, size: int) -> int:
        text.value = self._names[int(handle.value or 0)].encode()
        return 0

    def nvmlDeviceGetUUID(self, handle: ctypes.c_void_p, text: Any, size: int) -> int:
        text.value = f"{'MIG' if int(handle.value or 0) >= 100 else 'GPU'}-{handle.value}".encode()
        return 0

    def nvmlDeviceGetMemoryInfo(self, handle: ctypes.c_void_p, memory: Any) -> int:
        memory._obj.total = 5 << 30
        return 0

    def _put(self, handle: Any, value: int, exists: bool) -> int:
        handle._obj.value = value
        return 0 if exists else 6  # NVML_ERROR_NOT_FOUND


def test_a_divided_gpu_is_as_many_devices_as_it_has_slices() -> None:
    driver = Driver([], ["NVIDIA A100-SXM4-40GB MIG 3g.20gb", "NVIDIA A100-SXM4-40GB MIG 1g.5gb"])

    assert [gpu.uuid for gpu in gpus_of(driver, 0)] == ["GPU-1"]
    assert [gpu.uuid for gpu in gpus_of(driver, 1)] == ["MIG-200", "MIG-201"]
    assert gpus_of(driver, 2) == []


def test_a_slice_is_in_a_pool_of_its_own() -> None:
    assert pool_name("NVIDIA A100-SXM4-40GB MIG 1g.5gb", 5 << 30) == "A100_MIG_1G_5GB"
    assert pool_name("NVIDIA H100 80GB HBM3 MIG 3g.40gb", 40 << 30) == "H100_MIG_3G_40GB"
