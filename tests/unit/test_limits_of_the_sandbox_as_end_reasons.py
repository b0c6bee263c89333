"""Errors from the sandbox's limits are their caller's, and are not tried again; those of a GPU's memory are."""

import pytest

from comfyward.runs.run import EndReason
from comfyward.worker.failures import reason_of


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("MemoryError", ""),
        ("numpy.core._exceptions._ArrayMemoryError", "Unable to allocate 7.45 TiB for an array"),
        ("RuntimeError", "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
        ("OSError", "[Errno 27] File too large"),
        ("OSError", "[Errno 24] Too many open files: '/dev/null'"),
        ("RuntimeError", "can't start new thread"),
        ("OSError", "[Errno 12] Cannot allocate memory"),
        ("BlockingIOError", "[Errno 11] Resource temporarily unavailable"),
    ],
)
def test_a_limit_of_the_sandbox_is_over_limit(kind: str, message: str) -> None:
    assert reason_of(kind, message) is EndReason.OVER_LIMIT


@pytest.mark.parametrize("kind", ["torch.OutOfMemoryError", "torch.cuda.OutOfMemoryError"])
def test_the_memory_of_a_gpu_is_not(kind: str) -> None:
    assert reason_of(kind, "CUDA out of memory. Tried to allocate 20.00 GiB") is EndReason.OOM
