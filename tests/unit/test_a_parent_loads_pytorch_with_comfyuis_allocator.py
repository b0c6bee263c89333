"""PyTorch takes an allocator when it is loaded, and fails on a GPU if ComfyUI asks for another one afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from comfyward.sandbox.walls import SOURCE

COMFYUI = {
    "comfy/__init__.py": "",
    "comfy/options.py": "def enable_args_parsing(): pass",
    "cuda_malloc.py": """
import os, sys
if "--disable-cuda-malloc" not in sys.argv:
    os.environ["PYTORCH_CUDA_ALLOC_CONF"] = "backend:cudaMallocAsync"
print("ComfyUI says something else, too")
""",
}
TORCH = "import os; LOADED_WITH = os.environ.get('PYTORCH_CUDA_ALLOC_CONF')"
IMPORT = """
import json, sys
sys.path[:0] = sys.argv[1:3]
from comfyward.sandbox.inside import parent
parent._import(json.loads(sys.argv[3]))
import torch
print(json.dumps([torch.LOADED_WITH, sorted(name for name in sys.modules if name.startswith("comfy."))]))
"""


@pytest.mark.parametrize(
    ("has_gpu", "arguments", "loaded_with"),
    [
        (True, [], "backend:cudaMallocAsync"),
        (True, ["--disable-cuda-malloc"], None),
        (False, [], None),
    ],
)
def test_pytorch_is_loaded_with_it(tmp_path: Path, has_gpu: bool, arguments: list[str], loaded_with: str) -> None:
    assert _loaded(tmp_path, COMFYUI, has_gpu, arguments) == [loaded_with, []]  # and nothing of ComfyUI is imported


def test_a_comfyui_that_has_no_such_choice_leaves_pytorch_as_it_is(tmp_path: Path) -> None:
    assert _loaded(tmp_path, {"main.py": ""}, True, []) == [None, []]


def _loaded(folder: Path, comfyui: dict[str, str], has_gpu: bool, arguments: list[str]) -> list[object]:
    for name, text in comfyui.items():
        (folder / "comfyui" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "comfyui" / name).write_text(text)
    (folder / "libraries").mkdir()
    (folder / "libraries" / "torch.py").write_text(f"{TORCH}\nclass cuda:\n    is_initialized = staticmethod(bool)\n")
    bounds = {"library_s": 10.0, "all_s": 10.0, "memory_bytes": 1 << 32}
    options = {"comfyui": str(folder / "comfyui"), "packs": [], "libraries": ["torch"], "left_out": []}
    options |= {"bounds": bounds, "has_gpu": has_gpu, "arguments": arguments}
    command = [sys.executable, "-c", IMPORT, str(SOURCE), str(folder / "libraries"), json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return list(json.loads(done.stdout.splitlines()[-1]))
