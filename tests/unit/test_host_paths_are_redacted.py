"""Paths of the worker's host are replaced by names before an account reads them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from comfyward.comfy.install import Installation
from comfyward.comfy.process import EXTENSION_DIR, ComfySpec
from comfyward.runs.run import EndReason
from comfyward.sandbox import walls
from comfyward.worker.places import Places
from comfyward.worker.protocol import Ended, FailureReport

DATA = Path("/srv/comfy data")
BASE = DATA / "workers" / "local-0" / "comfyui"
SOURCE = Path("/srv/environments/comfyui-1")
PLACES = Places(
    ComfySpec(
        installation=Installation(
            SOURCE / "ComfyUI", SOURCE / "venv/bin/python", "1", (SOURCE / "ComfyUI", SOURCE / "venv", Path("/opt/py"))
        ),
        base_dir=BASE,
        level=walls.Level.NONE,
        network=False,
        device_args=(),
        extra_args=(),
        custom_nodes_dirs=(Path("/srv/packs"),),
        model_dirs=(Path("/mnt/models"),),
    ),
    DATA,
    Path("/srv/built"),
)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (f"cannot identify image file '{BASE}/input/bad.png'", "cannot identify image file '/input/bad.png'"),
        (f"{BASE}/models/loras/a.safetensors:", "/models/loras/a.safetensors:"),
        (f"open {BASE}/content/0a1b2c/models/loras/a.safetensors", "open /models/loras/a.safetensors"),
        (f"open {BASE}/files/0a1b2c/bad.png", "open /bad.png"),
        (f"{BASE}/source/input/bad.png", "/input/bad.png"),
        (f"{BASE}/source/nodes.py", "ComfyUI/nodes.py"),
        (f"{BASE}/source/custom_nodes/impact/nodes.py", "ComfyUI/custom_nodes/impact/nodes.py"),
        (f"{BASE}/output and {BASE}/temp/x", "/output and /temp/x"),
        (f"{BASE}/user/default", "ComfyUI/user/default"),
        ("/mnt/models/checkpoints/b.ckpt", "/models/checkpoints/b.ckpt"),
        (f'  File "{SOURCE}/ComfyUI/nodes.py", line 3', '  File "ComfyUI/nodes.py", line 3'),
        (f"{SOURCE}/venv/lib/torch/_ops.py", "python/lib/torch/_ops.py"),
        ("/opt/py/lib/python3.12/json/decoder.py", "python/lib/python3.12/json/decoder.py"),
        ("/srv/packs/impact/nodes.py", "ComfyUI/custom_nodes/impact/nodes.py"),
        (f"{EXTENSION_DIR}/x/identity.py", "ComfyUI/custom_nodes/x/identity.py"),
        (f"{DATA}/cache/blobs/ab", "cache/blobs/ab"),
        (f"{DATA}/workers/local-0/collect", "data/workers/local-0/collect"),
        (f"{Path(sys.modules['comfyward'].__file__ or '').parent}/worker/stage.py", "comfyward/worker/stage.py"),
        (f"/srv/built/{'ab' * 32}/packs/impact/nodes.py", "ComfyUI/custom_nodes/impact/nodes.py"),
        (f"/srv/built/{'ab' * 32}/ComfyUI/nodes.py", "ComfyUI/nodes.py"),
        (f"/srv/built/{'ab' * 32}/venv/lib/x.py", "python/lib/x.py"),
        ("/mnt/models-of-others and /srv/packs.txt", "/mnt/models-of-others and /srv/packs.txt"),
    ],
)
def test_a_path_of_the_host_becomes_a_name(written: str, read: str) -> None:
    assert PLACES.named(written) == read


def test_every_part_of_the_final_report_is_redacted() -> None:
    path = f"{BASE}/input/bad.png"
    failure = FailureReport(
        path, hint=path, node_id="1", traceback=[path], details={"node_errors": {"1": [{"details": path}]}}
    )

    told = PLACES.redacted(
        Ended(3, EndReason.NODE_ERROR, failure=failure, node_results={"1": {"text": [path]}}, log=path)
    )

    assert told == Ended(
        3,
        EndReason.NODE_ERROR,
        failure=FailureReport(
            "/input/bad.png",
            hint="/input/bad.png",
            node_id="1",
            traceback=["/input/bad.png"],
            details={"node_errors": {"1": [{"details": "/input/bad.png"}]}},
        ),
        node_results={"1": {"text": ["/input/bad.png"]}},
        log="/input/bad.png",
    )
