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


@pytest.mark.parametrize(
    "message",
    [
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "[ONNXRuntimeError] : 6 : Failed to allocate memory for requested buffer of size 4294967296",
    ],
)
def test_libraries_say_in_their_own_words_that_a_gpu_is_full(message: str) -> None:
    assert reason_of("RuntimeError", message) is EndReason.OOM


@pytest.mark.parametrize(
    "message",
    [
        "CUDA error: an illegal memory access was encountered",
        "CUDA error: device-side assert triggered",
        "CUDA error: unspecified launch failure",
        "CUDA error: the launch timed out and was terminated",
        "CUDA error: an illegal instruction was encountered",
        "CUDA error: unknown error",
        "CUDA error: uncorrectable NVLink error detected during the execution",
        "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
    ],
)
def test_an_error_that_breaks_a_process_is_a_fault_of_the_gpu(message: str) -> None:
    assert reason_of("torch.AcceleratorError", message) is EndReason.GPU_FAULT


def test_other_errors_of_cuda_are_the_graphs() -> None:
    assert reason_of("RuntimeError", "CUDA error: invalid argument") is EndReason.NODE_ERROR
