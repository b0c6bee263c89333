"""What runs leave is out of the way at once, and removed by a thread; what cannot be removed stays aside."""

from __future__ import annotations

import queue
from pathlib import Path

import pytest

from comfyward.sandbox import leftovers, removal
from comfyward.sandbox.leftovers import Leftovers, set_aside


def test_a_folder_is_moved_at_once_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    removed: queue.Queue[Path] = queue.Queue()
    remove_tree = removal.remove_tree

    def remove(path: Path) -> None:
        remove_tree(path)
        removed.put(path)

    monkeypatch.setattr(removal, "remove_tree", remove)
    (tmp_path / "left" / "a").mkdir(parents=True)
    (tmp_path / "left" / "a").chmod(0o500)
    aside = tmp_path / "aside"

    set_aside(tmp_path / "left", aside)
    set_aside(tmp_path / "missing", aside)

    assert not (tmp_path / "left").exists()
    [entry] = aside.iterdir()
    emptying = Leftovers(aside)
    assert removed.get(timeout=60) == entry
    assert list(aside.iterdir()) == []
    emptying.close()


def test_what_cannot_be_removed_does_not_keep_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: queue.Queue[str] = queue.Queue()
    remove_tree = removal.remove_tree

    def remove(path: Path) -> None:
        tried.put(path.name)
        if path.name == "stuck":
            raise PermissionError("stuck")
        remove_tree(path)

    monkeypatch.setattr(removal, "remove_tree", remove)
    monkeypatch.setattr(leftovers, "POLL_S", 0.01)
    monkeypatch.setattr(leftovers, "AGAIN_S", 0.01)
    (tmp_path / "stuck").mkdir()
    emptying = Leftovers(tmp_path)
    assert tried.get(timeout=60) == "stuck"
    (tmp_path / "later").mkdir()

    names = {tried.get(timeout=60)}
    while names != {"stuck", "later"}:
        names.add(tried.get(timeout=60))
    assert tried.get(timeout=60) == "stuck"  # again and again
    emptying.close()
    assert [path.name for path in tmp_path.iterdir()] == ["stuck"]
