"""ComfyICU's names where it has one, the model's own elsewhere."""

import pytest

from comfyward.fleet.devices import GIB, find_devices, pool_name


@pytest.mark.parametrize(
    ("device", "memory_gib", "pool"),
    [
        ("NVIDIA L4", 24, "L4"),
        ("NVIDIA L40S", 48, "L40S"),
        ("Tesla T4", 16, "T4"),
        ("NVIDIA A10", 24, "A10"),
        ("NVIDIA A10G", 24, "A10G"),
        ("NVIDIA A100-SXM4-40GB", 40, "A100_40GB"),
        ("NVIDIA A100 80GB PCIe", 80, "A100_80GB"),
        ("NVIDIA H100 80GB HBM3", 80, "H100"),
        ("NVIDIA H200", 141, "H200"),
        ("NVIDIA GeForce RTX 4090", 24, "RTX_4090"),
        ("NVIDIA RTX A6000", 48, "RTX_A6000"),
        ("NVIDIA T400 4GB", 4, "T400_4GB"),
    ],
)
def test_pools_are_named_after_devices(device: str, memory_gib: int, pool: str) -> None:
    assert pool_name(device, memory_gib * GIB) == pool


def test_there_is_always_a_device() -> None:
    assert find_devices()
