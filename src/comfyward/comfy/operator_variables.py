"""The operator's variables that ComfyUI gets as the worker has them: they tune PyTorch and the drivers of a device.

A list of names, not of beginnings: what else a worker's environment holds, such as tokens, stays outside of the
sandbox. Variables that name folders are not among them, since ComfyUI would not find these inside; and neither are
those that the worker decides itself: the devices that are visible, and HF_HUB_OFFLINE, which follows the network.
"""

from __future__ import annotations

import os

# PyTorch (docs.pytorch.org/docs/stable/notes/cuda.html and hip.html, torch_environment_variables.html)
_PYTORCH = (
    *("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF", "PYTORCH_NO_CUDA_MEMORY_CACHING"),
    *("PYTORCH_TUNABLEOP_ENABLED", "PYTORCH_TUNABLEOP_TUNING", "TORCH_BLAS_PREFER_HIPBLASLT"),
    *("TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "TORCH_CUDNN_V8_API_DISABLED", "TORCH_SHOW_CPP_STACKTRACES"),
    *("TORCH_ROCM_AOTRITON_ENABLE_EXPERIMENTAL", "TORCHINDUCTOR_COMPILE_THREADS"),
)
# CUDA's driver and libraries (docs.nvidia.com/cuda/cuda-c-programming-guide, "CUDA Environment Variables")
_CUDA = (
    *("CUDA_LAUNCH_BLOCKING", "CUDA_MODULE_LOADING", "CUDA_MODULE_DATA_LOADING", "CUDA_DEVICE_MAX_CONNECTIONS"),
    *("CUDA_CACHE_DISABLE", "CUDA_CACHE_MAXSIZE", "CUDA_FORCE_PTX_JIT", "CUDA_DISABLE_PTX_JIT", "CUDA_AUTO_BOOST"),
    *("NVIDIA_TF32_OVERRIDE", "CUBLAS_WORKSPACE_CONFIG"),
)
# AMD's (rocm.docs.amd.com): cards that ROCm does not name are used under another one's name
_ROCM = (
    *("HSA_OVERRIDE_GFX_VERSION", "HSA_ENABLE_SDMA", "AMD_SERIALIZE_KERNEL"),
    *("MIOPEN_FIND_MODE", "MIOPEN_FIND_ENFORCE"),
)
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

NAMES = frozenset((*_PYTORCH, *_CUDA, *_ROCM, *_THREADS))


def passed_on() -> dict[str, str]:
    """Those that this process has. A parent needs them as well: PyTorch reads most of them when it is loaded."""
    return {name: value for name, value in os.environ.items() if name in NAMES}
