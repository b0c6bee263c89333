"""An operator's ComfyUI takes packages from another Python environment, or from a checkout, named in a `.pth` file."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from comfyward.comfy.install import existing
from comfyward.comfy.parents import ComfyParents
from comfyward.comfy.process import ComfyProcess, ComfySpec
from comfyward.sandbox import walls
from comfyward.sandbox.inside import landlock
from tests.conftest import FAKE_COMFYUI


@pytest.mark.parametrize("level", list(walls.Level))
def test_a_linked_folder_is_part_of_the_installation(level: walls.Level, tmp_path: Path) -> None:
    if level is walls.Level.BUBBLEWRAP and not walls.bubblewrap_works():
        pytest.skip("bubblewrap does not work here")
    if level is walls.Level.LANDLOCK and landlock.abi() < 1:
        pytest.skip("the kernel has no Landlock")
    installation = existing(FAKE_COMFYUI, _environment_linked_to_ours(tmp_path / "environment"))
    home = tmp_path / "home"
    base = home / "comfyui"
    base.mkdir(parents=True)

    async def start_and_stop() -> None:
        spec = ComfySpec(installation, base, level, False, ("--cpu",), (), (), ())
        parents = ComfyParents(home)
        process = ComfyProcess(spec, parents)
        try:
            await process.start()
            assert process.is_running
        finally:
            await process.stop()
            await parents.close()

    asyncio.run(start_and_stop())


def _environment_linked_to_ours(folder: Path) -> Path:
    """The Python of an environment whose packages, which the fake ComfyUI needs, are all in ours."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site_packages,) = folder.glob("lib/python3*/site-packages")
    (site_packages / "ours.pth").write_text(f"# packages\n{sysconfig.get_path('purelib')}\n/no/such/folder\n")
    return folder / "bin" / "python"
