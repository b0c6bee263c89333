"""Files of an environment lie where its packs look for them at each start, and no pack changes what is built."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from comfyward.environments.weights import Weights
from comfyward.errors import InvalidEnvironment
from comfyward.worker.environment_reports import EnvironmentState
from tests.fakes.http import Origin, origin
from tests.stack.environment_worker import Server, serving, state_of, working

LARGE = os.urandom(17 << 20)  # is linked, while a small one is copied
SMALL = b"small weights"
LOOKS = f"""
import hashlib, os
here = os.path.dirname(os.path.abspath(__file__))
comfyui = os.path.dirname(os.path.dirname(here))

def sha256(*path):
    with open(os.path.join(*path), "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()

assert sha256(here, "ckpts", "large.pth") == "{hashlib.sha256(LARGE).hexdigest()}"
assert sha256(comfyui, "models", "faces", "large.onnx") == "{hashlib.sha256(LARGE).hexdigest()}"
assert sha256(comfyui, "models", "faces", "small.onnx") == "{hashlib.sha256(SMALL).hexdigest()}"
assert sha256(os.path.expanduser("~"), ".u2net", "small.onnx") == "{hashlib.sha256(SMALL).hexdigest()}"
refused = 0
for path in (os.path.join(here, "ckpts", "large.pth"), os.path.join(comfyui, "models", "faces", "large.onnx")):
    try:
        with open(path, "r+b") as file:
            file.write(b"harm")
    except OSError:
        refused += 1
for path in (os.path.join(comfyui, "models", "faces", "small.onnx"), os.path.join(here, "ckpts", "large.pth")):
    os.remove(path)  # its own view alone
    with open(path, "wb") as file:
        file.write(b"its own")
NODE_CLASS_MAPPINGS = {{f"Refused{{refused}}": object}}
"""


@pytest.fixture(scope="module")
def files() -> Iterator[Origin]:
    with origin() as served:
        served.put("/large", LARGE)
        served.put("/small", SMALL)
        yield served


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(tmp_path / "server") as served:
        yield served


async def test_packs_find_their_weights_at_each_start(server: Server, files: Origin, tmp_path: Path) -> None:
    wanted = (
        Weights("packs/looks/ckpts/large.pth", f"{files.url}/large"),
        Weights("models/faces/large.onnx", f"{files.url}/large"),
        Weights("models/faces/small.onnx", f"{files.url}/small"),
        Weights("home/.u2net/small.onnx", f"{files.url}/small"),
    )
    lock = server.lock(tmp_path / "sources", files=wanted, looks={"__init__.py": LOOKS})
    async with working(server, tmp_path) as worker:
        report = await worker.carried_out(lock)

        assert report.state is EnvironmentState.READY, report
        assert server.trials[lock.digest].packs[0].classes == ["Refused2"]
        build = worker.build(lock).path
        before = state_of(build)
        for account in ("ann", "bob"):
            assert (await worker.comfyui.of(lock.digest, account)).is_healthy
        assert state_of(build) == before
        (blob,) = (path for path in (tmp_path / "environments" / "cache" / "blobs").glob("*/*") if _is_large(path))
        assert (build / "files" / "models" / "faces" / "large.onnx").samefile(blob)
        assert blob.read_bytes() == LARGE


def _is_large(path: Path) -> bool:
    return path.stat().st_size == len(LARGE)


async def test_a_file_that_has_no_place_in_its_pack_is_refused(server: Server, files: Origin, tmp_path: Path) -> None:
    pack = {"__init__.py": "NODE_CLASS_MAPPINGS = {}\n"}
    for path, sentence in (
        ("packs/other/a", "No pack has the folder of 'packs/other/a'"),
        ("packs/mine/__init__.py", r"The pack mine has a file 'packs/mine/__init__.py' of its own"),
    ):
        with pytest.raises(InvalidEnvironment, match=sentence):
            server.lock(tmp_path / "sources", files=(Weights(path, f"{files.url}/small"),), mine=pack)
