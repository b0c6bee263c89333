"""What an operator sets for PyTorch and drivers, ComfyUI and its parent have, and no other variable of the worker."""

import json
import sys
from pathlib import Path

import pytest

from comfyward.comfy.install import Installation
from comfyward.comfy.parents import ComfyParents
from comfyward.comfy.process import ComfyProcess, ComfySpec
from comfyward.sandbox.walls import Level

# Tells its variables, then answers as ComfyUI does.
MAIN = """
import json, os, socket, sys, time
with open(os.path.join(sys.argv[sys.argv.index("--base-directory") + 1], "temp", "variables.json"), "w") as file:
    json.dump(dict(os.environ), file)
server = socket.socket(fileno=int(os.environ["COMFYWARD_LISTENER"]))
server.listen()
time.sleep(600)
"""
FOR_THE_DEVICE = {
    "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
    "CUDA_LAUNCH_BLOCKING": "1",
    "HSA_OVERRIDE_GFX_VERSION": "10.3.0",
}
KEPT_OUTSIDE = {
    "HF_TOKEN": "hf_secret",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "COMFYWARD_WORKER_TOKEN": "secret",
    "PYTORCH_TOKEN": "secret",
    "CUDA_CACHE_PATH": "/root/cache",
}


async def test_those_for_the_device_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**FOR_THE_DEVICE, **KEPT_OUTSIDE, "CUDA_VISIBLE_DEVICES": "all"}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "comfyui").mkdir()
    (tmp_path / "comfyui" / "main.py").write_text(MAIN)
    (tmp_path / "base").mkdir()
    installation = Installation(tmp_path / "comfyui", Path(sys.executable), "0", ())
    device = (("CUDA_VISIBLE_DEVICES", "GPU-1"),)
    parents = ComfyParents(tmp_path)
    spec = ComfySpec(installation, tmp_path / "base", Level.NONE, False, (), (), (), (), environment=device)
    process = ComfyProcess(spec, parents)

    await process.start()

    seen = json.loads((tmp_path / "base" / "temp" / "variables.json").read_text())
    of_parent = _variables(next(iter(parents.processes)))
    for variables in (seen, of_parent):
        assert FOR_THE_DEVICE.items() <= variables.items()
        assert not KEPT_OUTSIDE.keys() & variables.keys()
    assert (seen["CUDA_VISIBLE_DEVICES"], of_parent["CUDA_VISIBLE_DEVICES"]) == ("GPU-1", "")
    await process.stop()
    await parents.close()


def _variables(pid: int) -> dict[str, str]:
    """Those with which a process was started."""
    given = Path(f"/proc/{pid}/environ").read_bytes().decode().rstrip("\0")
    return dict(entry.split("=", 1) for entry in given.split("\0"))
