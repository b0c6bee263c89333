"""The real ComfyUI with packs that download weights: through the door to a listed host, told of to who learns."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfyward.comfy.egress import Egress
from comfyward.comfy.parents import ComfyParents
from comfyward.comfy.process import ComfySpec
from comfyward.environments.builds import Builds
from comfyward.environments.fetching import Fetching
from comfyward.environments.lock import Lock, LockedComfyUI
from comfyward.environments.staging import Staging
from comfyward.environments.target import TARGET
from comfyward.sandbox import walls
from comfyward.worker.engines import Engines
from comfyward.worker.learned import LearningOrder
from comfyward.worker.learning import Learning
from comfyward.worker.tried import Tried
from comfyward.worker.warm import WarmComfyUI
from tests.conftest import ROOT, installation
from tests.fakes.http import Origin, origin

pytestmark = pytest.mark.engine

CONTENTS = {"lines.pth": b"lines" * 3000, "faces.onnx": b"faces" * 5000, "mask.onnx": b"mask" * 10}
GRAPH = {"1": {"class_type": "FacesFromWeights", "inputs": {"report_to": "http://127.0.0.3:9/report"}}}


class Installed(Engines):
    """Every environment is that of the tests, with the packs of a build."""

    def spec(self, environment: str) -> ComfySpec:
        return self.default


@pytest.fixture
def weights() -> Iterator[Origin]:
    with origin("127.0.0.2") as served:
        for name, content in CONTENTS.items():
            served.put(f"/{name}", content)
        yield served


async def test_what_it_fetches_is_found(engine: dict[str, str], weights: Origin, tmp_path: Path) -> None:
    if walls.choose("auto") is not walls.Level.BUBBLEWRAP:
        pytest.skip("only bubblewrap has networks of their own")
    found, lock = installation(engine), Lock(TARGET, LockedComfyUI("0", "0", "1" * 64), (), ())
    build = tmp_path / "environments" / lock.digest
    for pack in ("downloads_at_import", "downloads_when_run"):
        shutil.copytree(ROOT / "packs" / pack, build / "packs" / pack)
        (build / "packs" / pack / "address.txt").write_text(weights.url)
    default = ComfySpec(
        *(found, tmp_path / "comfyui", walls.Level.BUBBLEWRAP, False, ("--cpu",), (), (build / "packs",), ()),
        egress=Egress(allow=("127.0.0.0/8",)),
    )
    builds = Builds(tmp_path / "environments", Staging.below(tmp_path / "environments"))
    engines = Installed(default, builds, Tried(tmp_path / "trials", ()))
    comfyui = WarmComfyUI(engines, ComfyParents(tmp_path), "client", tmp_path / "leftovers")
    cache = Fetching(str(tmp_path / "cache"), allow=("127.0.0.0/8",)).opened()
    order = LearningOrder("l", [weights.url.removeprefix("http://")], json.dumps(GRAPH))
    try:
        learned = await Learning(comfyui, cache).learn(engines.build(lock.digest), order)
    finally:
        await comfyui.close()

    assert {file.path: (file.url, file.sha256) for file in learned.files} == {
        f"{place}/{name}": (f"{weights.url}/{name}", hashlib.sha256(CONTENTS[name]).hexdigest())
        for place, name in (
            ("packs/downloads_at_import/ckpts/annotators", "lines.pth"),
            ("models/faces", "faces.onnx"),
            ("home/.masks", "mask.onnx"),
        )
    }
    assert learned.refused == ["127.0.0.3:9"]
    assert learned.message.strip() == "The graph failed: HTTP Error 403: The environment may not reach 127.0.0.3:9"
