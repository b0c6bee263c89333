"""Custom nodes of `scripts/gpu-check`: they use the GPU, fill it, break it. Without a GPU they pretend what they can.

Each shows facts as JSON: its process, its device, and the device's memory.
"""

import json
import os
import time
from pathlib import Path

import comfy.cli_args
import comfy.utils
import folder_paths
import torch

SMALL = 1.75  # the value of --reserve-vram by which a worker's ComfyUI knows that it is to have little memory
SMALL_SHARE = 0.2
CHUNK = 1 << 28
HELD = []

if comfy.cli_args.args.cpu:
    torch.set_num_threads(1)  # threads that spin for each other take ten times as long where others work, too


def has_gpu():
    return not comfy.cli_args.args.cpu and torch.cuda.is_available()


def facts(**more):
    """What this process sees of its device."""
    about = {"pid": os.getpid(), "gpu": has_gpu(), "torch": torch.__version__, **more}
    if has_gpu():
        free, total = torch.cuda.mem_get_info()
        about |= {"name": torch.cuda.get_device_name(), "free_bytes": free, "total_bytes": total}
        about |= {"visible": os.environ.get("CUDA_VISIBLE_DEVICES"), "devices": torch.cuda.device_count()}
        about |= {"allocated_bytes": torch.cuda.memory_allocated()}
    return {"ui": {"text": [json.dumps(about)]}}


def count(name):
    """How often it was called for a name before, by any process of this account here."""
    file = Path(folder_paths.get_user_directory()) / f"gpucheck-{name}"
    times = int(file.read_text()) if file.exists() else 0
    file.write_text(str(times + 1))
    return times


def fill(share):
    """Tensors that take a share of the device's memory, or all of it: then PyTorch's error is raised."""
    if not has_gpu():
        return []
    wanted = int(torch.cuda.mem_get_info()[1] * share)
    return [torch.empty(CHUNK, dtype=torch.uint8, device="cuda") for _ in range(wanted // CHUNK)]


class Node:
    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "gpucheck", "run", (), True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    @classmethod
    def IS_CHANGED(cls, **_):
        return float("nan")


class GpuCheckDevice(Node):
    """Multiplies two matrices on the device."""

    def run(self):
        began = time.perf_counter()
        was_initialized = torch.cuda.is_initialized()
        device = "cuda" if has_gpu() else "cpu"
        sum_ = (torch.ones(512, 512, device=device) @ torch.ones(512, 512, device=device)).sum().item()
        return facts(sum=sum_, was_initialized=was_initialized, seconds=round(time.perf_counter() - began, 3))


class GpuCheckHold(Node):
    """Keeps a share of the device's memory for as long as its process lives."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"share": ("FLOAT", {"default": 0.1, "min": 0.0, "max": 1.0, "step": 0.01})}}

    def run(self, share):
        HELD.extend(fill(share))
        return facts()


class GpuCheckOutOfMemory(Node):
    """Asks for more than the device has, as often as `times` says; then for a share of it."""

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "name": ("STRING", {"default": "once"}),
                "times": ("INT", {"default": 1, "min": 0, "max": 100}),
                "share": ("FLOAT", {"default": 0.5, "min": 0.0, "max": 1.0, "step": 0.01}),
            }
        }

    def run(self, name, times, share):
        is_small = comfy.cli_args.args.reserve_vram == SMALL
        if has_gpu() and is_small:
            torch.cuda.set_per_process_memory_fraction(SMALL_SHARE)
        too_much = is_small if times == 0 else count(name) < times
        if not has_gpu() and too_much:
            raise torch.OutOfMemoryError("Allocation on device: pretended, since there is no GPU")
        taken = fill(2.0 if too_much and not is_small else share)
        return facts(taken_bytes=len(taken) * CHUNK, is_small=is_small)


class GpuCheckFault(Node):
    """Reads outside of a tensor on the device, as often as `times` says: a device-side assert breaks the process."""

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "name": ("STRING", {"default": "once"}),
                "times": ("INT", {"default": 1, "min": 0, "max": 100}),
            }
        }

    def run(self, name, times):
        if count(name) < times:
            if not has_gpu():
                raise RuntimeError("CUDA error: device-side assert triggered (pretended, since there is no GPU)")
            table, outside = torch.zeros(4, 4, device="cuda"), torch.tensor([1 << 20], device="cuda")
            table.index_select(0, outside).sum().item()
            torch.cuda.synchronize()
        return facts()


class GpuCheckSleep(Node):
    """Keeps the device busy in steps of a tenth of a second."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"seconds": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 600.0, "step": 0.1})}}

    def run(self, seconds):
        steps = max(1, round(seconds * 10))
        bar = comfy.utils.ProgressBar(steps)
        for _ in range(steps):
            if has_gpu():
                until = time.perf_counter() + 0.1
                while time.perf_counter() < until:
                    torch.cuda._sleep(10_000_000)
                    torch.cuda.synchronize()
            else:
                time.sleep(0.1)
            bar.update(1)
        return facts()


NODE_CLASS_MAPPINGS = {
    each.__name__: each for each in (GpuCheckDevice, GpuCheckHold, GpuCheckOutOfMemory, GpuCheckFault, GpuCheckSleep)
}
