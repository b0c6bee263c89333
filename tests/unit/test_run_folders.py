"""A run's files get their names below input/ and models/, whatever a hostile node has made of these folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from comfyward.comfy import run_folders
from comfyward.comfy.run_folders import RunFolders, StagedFile
from comfyward.sandbox import removal


@pytest.fixture
def folders(tmp_path: Path) -> RunFolders:
    base = tmp_path / "base"
    for name in ("input", "models/loras", "files"):
        (base / name).mkdir(parents=True)
    (base / "models" / "loras" / "house.pt").symlink_to("/operators/house.pt")
    (base / "models" / "notes.txt").write_text("a pack's own")
    made = RunFolders(base, tmp_path / "aside")
    made.take_baseline()
    return made


@pytest.fixture
def blob(tmp_path: Path) -> Path:
    path = tmp_path / "blob"
    path.write_text("bytes")
    return path


def staged(blob: Path, *paths: str) -> list[StagedFile]:
    return [StagedFile(path, blob, "digest") for path in paths]


def everything(base: Path) -> set[str]:
    return {str(path.relative_to(base)) for root in ("input", "models") for path in (base / root).rglob("*")}


def test_files_come_and_go(folders: RunFolders, blob: Path) -> None:
    before = everything(folders.base)

    folders.place(staged(blob, "/input/a b.png", "/models/loras/sub/x.pt", "/models/loras/house.pt"))

    for name in ("input/a b.png", "models/loras/sub/x.pt", "models/loras/house.pt"):
        path = folders.base / name
        assert path.read_text() == "bytes"
        assert path.resolve().relative_to(folders.base / "files").name == path.name
        assert path.resolve().samefile(blob)
        assert (folders.base / "content" / "digest").readlink() == Path("../source")
    folders.clear()
    assert everything(folders.base) == before
    assert os.readlink(folders.base / "models" / "loras" / "house.pt") == "/operators/house.pt"
    assert list((folders.base / "files").iterdir()) == list((folders.base / "content").iterdir()) == []


def test_leftovers_of_nodes_are_removed(folders: RunFolders, blob: Path) -> None:
    before = everything(folders.base)
    folders.place(staged(blob, "/input/a.png"))
    (folders.base / "input" / "left.png").write_text("of the last account")
    (folders.base / "models" / "loras" / "deep" / "er").mkdir(parents=True)
    (folders.base / "models" / "loras" / "deep" / "er" / "x.pt").symlink_to("/etc/passwd")
    (folders.base / "input" / "a.png").unlink()

    folders.clear()

    assert everything(folders.base) == before


def test_a_symlink_planted_by_a_node_is_not_followed(folders: RunFolders, blob: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "sub").mkdir(parents=True)
    (outside / "a.png").write_text("somebody's")
    (folders.base / "models" / "loras" / "house.pt").unlink()
    (folders.base / "models" / "loras").rmdir()
    (folders.base / "models" / "loras").symlink_to(outside)
    (folders.base / "input" / "sub").symlink_to(outside)
    (folders.base / "input" / "b.png").mkdir()
    (folders.base / "input" / "c.png").symlink_to(outside / "a.png")

    folders.place(staged(blob, "/models/loras/a.png", "/input/sub/a.png", "/input/b.png", "/input/c.png"))
    assert (folders.base / "input" / "sub" / "a.png").read_text() == "bytes"
    assert (folders.base / "input" / "b.png").read_text() == "bytes"
    assert (folders.base / "models" / "loras" / "a.png").read_text() == "bytes"
    folders.clear()

    assert (outside / "a.png").read_text() == "somebody's"
    assert sorted(path.name for path in outside.iterdir()) == ["a.png", "sub"]


MOST = 200  # entries that are moved, instead of thousands
MANY = 2 * MOST


def test_what_a_run_left_is_moved_aside_whole(folders: RunFolders, blob: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = everything(folders.base)
    monkeypatch.setattr(run_folders, "MAX_MOVED", MOST)
    monkeypatch.setattr(removal, "remove", no_removal)
    monkeypatch.setattr(os, "unlink", no_removal)
    folders.place(staged(blob, "/input/a.png", "/models/loras/house.pt"))
    crowd = folders.base / "models" / "loras" / "crowd"
    crowd.mkdir()
    for number in range(MANY):
        (crowd / f"{number}").touch()
    (folders.base / "input" / "left.png").write_text("of the last run")

    folders.clear()

    assert everything(folders.base) == before
    aside = folders.base.parent / "aside"
    assert MANY in [len(os.listdir(entry)) for entry in aside.iterdir() if entry.is_dir()]
    assert not {"crowd", "left.png", "a.png", "files"} & {path.name for path in aside.iterdir()}  # names may clash


def test_too_many_entries_to_move_stay_for_the_whole_folder_to_be_moved(
    folders: RunFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_folders, "MAX_MOVED", MOST)
    for number in range(MOST + 1):
        (folders.base / "input" / f"{number}").touch()

    with pytest.raises(OSError, match=f"more than {MOST} entries"):
        folders.clear()

    assert len(os.listdir(folders.base / "input")) == MOST + 1


def no_removal(*_: object, **__: object) -> None:
    raise AssertionError("removed, while the next run waits")
