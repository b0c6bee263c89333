"""A trial reads the web folders of packs, and what their routes without parameters answer, from the real ComfyUI."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from comfyward.comfy.parents import ComfyParents
from comfyward.comfy.process import ComfySpec
from comfyward.environments.web_files import unpacked
from comfyward.sandbox import walls
from comfyward.worker import trial
from comfyward.worker.generation import Generation
from tests.conftest import ROOT, installation

pytestmark = pytest.mark.engine

PACK = "extends_the_editor"


async def test_files_and_answers_are_read_and_nothing_else(engine: dict[str, str], tmp_path: Path) -> None:
    packs = tmp_path / "packs"
    shutil.copytree(ROOT / "packs" / PACK, packs / PACK)
    for name in ("allowed_nothing", "without_web"):
        (packs / name).mkdir()
        (packs / name / "__init__.py").write_text("NODE_CLASS_MAPPINGS = {}\n")
    scripts = packs / PACK / "web" / "js"
    (scripts / "link.js").symlink_to("/etc/hostname")
    (scripts / ".hidden.js").write_text("hidden")
    (scripts / "inner").mkdir()
    (scripts / "inner" / "in a folder.js").write_text("inner")
    spec = ComfySpec(
        installation(engine), tmp_path / "comfyui", walls.choose("auto"), False, ("--cpu",), (), (packs,), ()
    )
    parents = ComfyParents(tmp_path)
    comfyui = Generation("tried", spec, parents, "client", tmp_path / "leftovers")
    try:
        kept = await trial.tried(comfyui, [PACK, "without_web"])
    finally:
        await comfyui.end()
        await parents.close()

    assert kept.trial.ready, kept.trial
    files = {file.path: file for file in unpacked(kept.web_files)}
    assert sorted(files) == [
        "/extends/config.js",
        "/extends/parts/knob.js",
        "/extends/version",
        "/extends_static/shared.js",
        f"/extensions/{PACK}/dial.css",
        f"/extensions/{PACK}/dial.js",
        f"/extensions/{PACK}/inner/in a folder.js",
    ]
    assert {file.pack for file in files.values()} == {PACK}
    assert files[f"/extensions/{PACK}/dial.js"].content == (scripts / "dial.js").read_bytes()
    assert files["/extends/version"].content == b'{"version": 1}'
    types = {path: file.media_type for path, file in files.items()}
    assert types["/extends/version"] == "application/json"
    assert types["/extends/config.js"] == types["/extends_static/shared.js"] == "text/javascript"
