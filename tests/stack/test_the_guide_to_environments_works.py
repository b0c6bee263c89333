"""The commands of the guide to environments, on real packs; then a server on what they built makes a picture."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from comfyward.environments.trees import digest_of
from tests.conftest import installation
from tests.stack.graphs import node, picture
from tests.stack.stack import NO_REGISTRY, Stack

ROOT = Path(__file__).parent.parent.parent
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(engine: dict[str, str], environments: Path) -> Iterator[Path]:
    """A data directory on the disk where ComfyUI is installed beside it, so that files and bytecode are shared."""
    with tempfile.TemporaryDirectory(prefix="guide-", dir=environments.parent) as made:
        folder = Path(made)
        (folder / "environments").mkdir()
        (folder / "environments" / "default").symlink_to(installation(engine).source.parent)
        yield folder


def run(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    own = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "COMFYWARD_DATA_DIR": str(folder),
        "COMFYWARD_ENVIRONMENTS_DIR": str(folder / "environments"),
        "COMFYWARD_NODE_REGISTRY_URL": NO_REGISTRY,
    }
    command = ["bash", "-euo", "pipefail", "-c", script]
    return subprocess.run(command, env={**os.environ, **own}, cwd=folder, capture_output=True, text=True)


@pytest.fixture(scope="module")
def built(folder: Path) -> dict[str, object]:
    """What 'show --json' says once all commands of the guide have run."""
    blocks = BLOCK.findall((ROOT / "docs" / "environments.md").read_text())
    done = run(folder, "comfyward db upgrade\n" + "\n".join(blocks))
    assert done.returncode == 0, done.stderr
    assert "+ pack ComfyUI_Ib_CustomNodes pypi:comfyui-ib-customnodes==0.2.3" in done.stdout
    assert "+ package colorama" in done.stdout
    assert "git+https://github.com/rgthree/rgthree-comfy@HEAD" in done.stdout
    shown = run(folder, "comfyward environments show portraits --json")
    return json.loads(shown.stdout)


def test_the_guides_revisions_are_there(folder: Path, built: dict[str, object]) -> None:
    revisions = built["revisions"]
    assert isinstance(revisions, list)
    assert [each["revision"] for each in revisions] == [f"portraits@{number}" for number in (4, 3, 2, 1)]
    assert [each["state"] for each in revisions] == ["locked", "built", "locked", "built"]
    assert revisions[1]["digest"] == revisions[3]["digest"]
    assert built["is_changed"] is False
    lock = json.loads((folder / "portraits.lock.json").read_text())
    assert {pack["folder"] for pack in lock["packs"]} == {"comfyui_tooling_nodes"}


def test_two_packs_that_exclude_each_other_are_named(folder: Path, built: dict[str, object]) -> None:
    done = run(
        folder,
        "comfyward environments create flux --comfyui 0.30.0\n"
        "comfyward environments add flux pypi:comfyui-fluxflow==0.8.0 pypi:comfyui-tooling-nodes==0.1.0\n"
        "comfyward environments lock flux",
    )
    assert done.returncode == 1
    assert re.search(r"comfyui_fluxflow asks for numpy<2\S* \(.*\); ComfyUI 0\.30\.0 here has numpy 2\.", done.stderr)


@pytest.fixture(scope="module")
def server(folder: Path, built: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    revisions = built["revisions"]
    assert isinstance(revisions, list)
    path = Path(revisions[1]["path"])
    settings = {"comfyui": str(path / "ComfyUI"), "custom_nodes_dir": str(path / "packs"), "editor": "false"}
    before = digest_of(path / "packs")
    stack = Stack(tmp_path_factory.mktemp("guide-server"), settings)
    try:
        yield stack.start().wait_ready()
        assert digest_of(path / "packs") == before
    finally:
        stack.close()


def test_a_server_uses_what_was_built(server: Stack) -> None:
    graph = {**picture(size=64), "3": node("ETN_CropImage", image=["1", 0], x=8, y=8, width=16, height=24)}
    graph["2"]["inputs"]["images"] = ["3", 0]

    client = server.client()
    done = client.run(graph)

    assert done["status"] == "COMPLETED", done["error"]
    assert Image.open(io.BytesIO(client.http.get(done["output"][0]["url"]).content)).size == (16, 24)
