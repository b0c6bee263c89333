"""Temporary folders of processes that were killed are removed by the next one; those of living ones, links and others'
are left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfyward.sandbox import temporary
from comfyward.sandbox.temporary import TemporaryFolder, remove_abandoned

HOLDS = """
import sys, time
from comfyward.sandbox.temporary import TemporaryFolder
folder = TemporaryFolder()
(folder.path / "inside").mkdir()
(folder.path / "inside" / "socket").touch()
print(folder.path, flush=True)
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


@pytest.fixture
def holder() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", HOLDS], stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def path_of(holder: subprocess.Popen[str]) -> Path:
    assert holder.stdout is not None
    return Path(holder.stdout.readline().strip())


def test_that_of_a_killed_process_is_removed_and_that_of_a_living_one_is_not(holder: subprocess.Popen[str]) -> None:
    path = path_of(holder)
    assert remove_abandoned() == 0
    assert (path / "inside" / "socket").exists()

    holder.send_signal(signal.SIGKILL)
    holder.wait()

    assert remove_abandoned() == 1
    assert not path.exists()


def test_a_folder_is_removed_when_it_is_closed(folder: Path) -> None:
    with TemporaryFolder() as path:
        (path / "file").touch()
        assert (path.parent, path.stat().st_mode & 0o777) == (folder, 0o700)
        assert remove_abandoned() == 0

    assert list(folder.iterdir()) == []


def test_links_files_and_other_names_are_left_alone(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "kept").touch()
    (folder / "cw-12345678.held").symlink_to(elsewhere)
    (folder / "cw-file.held").touch()
    (folder / "cw-12345678").mkdir()  # of an earlier version, which may be at work
    (folder / "comfyward-12345678.held").mkdir()
    before = sorted(folder.iterdir())

    assert remove_abandoned() == 0

    assert sorted(folder.iterdir()) == before
    assert (elsewhere / "kept").exists()


def test_folders_of_other_users_are_left_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = folder / "cw-12345678.held"
    theirs.mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: theirs.stat().st_uid + 1)

    assert remove_abandoned() == 0

    assert theirs.is_dir()


def test_a_folder_that_another_process_just_took_for_abandoned_is_made_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one comes between the making of the folder and its lock."""
    made, mkdtemp = list[str](), tempfile.mkdtemp

    def raced(**how: str) -> str:
        made.append(mkdtemp(**how))
        if len(made) == 1:
            assert remove_abandoned() == 1
        return made[-1]

    monkeypatch.setattr(temporary.tempfile, "mkdtemp", raced)

    with TemporaryFolder() as path:
        assert str(path) == made[1]
        assert path.is_dir()
