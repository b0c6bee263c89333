"""An operator is told which models ComfyUI cannot read, that it runs as root, or that system calls are not filtered."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfyward.comfy.parent import Environment, Parent, Start
from comfyward.errors import SetupFailed
from comfyward.sandbox import walls
from comfyward.sandbox.inside import seccomp
from comfyward.sandbox.walls import Access, Level
from comfyward.sandbox.weaknesses import weaknesses

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root's ComfyUI runs as another user")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    (folder / "loras").mkdir(parents=True)
    (folder / "loras" / "style.safetensors").touch(0o644)
    folder.chmod(0o755)
    (folder / "loras").chmod(0o755)
    return folder


@as_root
@pytest.mark.parametrize(("closed", "mode"), [("", 0o700), ("loras", 0o750), ("loras/style.safetensors", 0o600)])
def test_models_that_only_root_may_read_are_named(models: Path, closed: str, mode: int) -> None:
    access = Access((), models.parent)
    assert weaknesses(Level.BUBBLEWRAP, access, [models]) == []

    (models / closed).chmod(mode)

    [sentence] = weaknesses(Level.BUBBLEWRAP, access, [models])
    assert f"cannot read {models / closed}" in sentence
    assert f"chmod -R o+rX {models}" in sentence


@pytest.mark.parametrize("level", [Level.BUBBLEWRAP, Level.LANDLOCK])
def test_a_machine_without_a_filter_says_so(level: Level, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp, "ARCHITECTURES", {})

    [sentence] = weaknesses(level, Access((), Path("/srv")), [])
    assert f"no filter for machines of the kind {os.uname().machine}" in sentence
    assert weaknesses(Level.NONE, Access((), Path("/srv")), []) == []


@pytest.fixture
def closed_home() -> Iterator[Path]:
    """A data directory below a folder of root's alone."""
    folder = Path("/var/tmp/comfyward-closed")
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    yield folder / "worker"
    shutil.rmtree(folder)


@as_root
@pytest.mark.parametrize("level", [Level.LANDLOCK, Level.NONE])
async def test_a_comfyui_of_root_is_warned_of(
    level: Level, closed_home: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walls, "SOURCE", Path("/usr"))  # everybody can reach it
    with caplog.at_level(logging.WARNING):
        await fail_to_start(closed_home, level)

    [warning] = [each.getMessage() for each in caplog.records if each.__dict__.get("action") == "comfyui_runs_as_root"]
    assert f"ComfyUI runs as root: a user without privileges cannot pass through {closed_home.parent}." in warning


async def test_a_parent_that_does_not_start_leaves_nothing_open(tmp_path: Path) -> None:
    before = sockets()

    assert await fail_to_start(tmp_path / "worker", Level.NONE) <= before  # another test's may be closed meanwhile


async def fail_to_start(home: Path, level: Level) -> set[str]:
    """The sockets that are open after a parent has failed to start."""
    parent = Parent(Environment(Path("/bin/false"), Path("/comfyui"), (), level, Access((), home)), None)
    with pytest.raises(SetupFailed):
        await parent.fork(Start((), {}, home, {}, (0, 0)))
    left = sockets()
    await parent.close()
    return left


def sockets() -> set[str]:
    """The sockets that this process has open."""
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(descriptor))
    return {name for name in found if name.startswith("socket:")}
