"""The files that packs write into their private copies are told by pack, and those in ComfyUI's own source apart."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from comfyward.comfy.copies import Copies, Recipe
from comfyward.worker.written_files import MOST_NAMED, written_in


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    source, packs = tmp_path / "ComfyUI", tmp_path / "packs"
    for path in (source / "main.py", packs / "quiet" / "__init__.py", packs / "busy" / "inner" / "own.json"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("original")
    return Recipe(source, ((packs, "custom_nodes"),), Path(sys.executable))


@pytest.fixture
def copy(recipe: Recipe, tmp_path: Path) -> Path:
    Copies(tmp_path / "ahead").put(recipe, tmp_path / "copy")
    return tmp_path / "copy"


def test_nothing_is_found_in_a_fresh_copy(recipe: Recipe, copy: Path) -> None:
    assert written_in(copy, recipe) == {}


def test_new_and_changed_files_are_found_and_links_and_bytecode_are_not(recipe: Recipe, copy: Path) -> None:
    busy = copy / "custom_nodes" / "busy"
    (busy / "inner" / "own.json").write_text("changed!")
    (busy / "config.ini").write_text("new")
    (busy / "__pycache__").mkdir(exist_ok=True)
    (busy / "__pycache__" / "x.pyc").write_bytes(b"x")
    os.symlink("/etc/hostname", busy / "link")
    (copy / "web").mkdir()
    (copy / "web" / "a.js").write_text("new")

    found = written_in(copy, recipe)

    assert {name: (each.count, sorted(each.paths)) for name, each in found.items()} == {
        "busy": (2, ["config.ini", "inner/own.json"]),
        "": (1, ["web/a.js"]),
    }


def test_of_many_files_a_few_are_named(recipe: Recipe, copy: Path) -> None:
    for number in range(MOST_NAMED + 5):
        (copy / "custom_nodes" / "busy" / f"{number:02}.txt").write_text("x")
    (copy / "custom_nodes" / "busy" / ("n" * 250)).write_text("x")

    busy = written_in(copy, recipe)["busy"]

    assert (busy.count, len(busy.paths)) == (MOST_NAMED + 6, MOST_NAMED)
    assert max(map(len, busy.paths)) <= 200
