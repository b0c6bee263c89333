"""A ComfyUI's own copy of source and packs may be made before its start; it never shows an earlier state of them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from comfyward.comfy.copies import Copies, Recipe


class Originals:
    """A ComfyUI with a pack, and copies of both."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("comfyui/main.py", "VALUE = 1\n")
        self.write("packs/one/__init__.py", "VALUE = 1\n")
        packs = ((folder / "packs", "custom_nodes"),)
        self.recipe = Recipe(folder / "comfyui", packs, Path(sys.executable))
        self.copies = Copies(folder / "copies")

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def put(self, name: str) -> dict[str, str]:
        """The texts of a copy, which is put there."""
        copy = self.folder / name
        self.copies.put(self.recipe, copy)
        return {str(path.relative_to(copy)): path.read_text() for path in copy.rglob("*.py")}


@pytest.fixture
def originals(tmp_path: Path) -> Originals:
    return Originals(tmp_path)


def test_it_is_the_same_copy(originals: Originals) -> None:
    at_once = originals.put("a")
    originals.copies.make_ahead(originals.recipe)
    (ahead,) = (originals.folder / "copies").iterdir()
    made = ahead.stat().st_ino

    assert originals.put("b") == at_once == {"main.py": "VALUE = 1\n", "custom_nodes/one/__init__.py": "VALUE = 1\n"}
    assert (originals.folder / "b").stat().st_ino == made
    assert list((originals.folder / "copies").iterdir()) == []


@pytest.mark.parametrize("name", ["comfyui/main.py", "packs/one/__init__.py"])
def test_a_change_of_equal_size_and_time_is_in_it(originals: Originals, name: str) -> None:
    originals.copies.make_ahead(originals.recipe)
    times = (originals.folder / name).stat()
    os.utime(originals.write(name, "VALUE = 2\n"), ns=(times.st_atime_ns, times.st_mtime_ns))

    assert "VALUE = 2\n" in originals.put("a").values()


def test_new_and_removed_files_are_noticed(originals: Originals) -> None:
    originals.copies.make_ahead(originals.recipe)
    originals.write("packs/one/more.py", "")
    originals.write("packs/two.py", "")
    with_more = originals.put("a")
    originals.copies.make_ahead(originals.recipe)
    (originals.folder / "packs/two.py").unlink()

    assert {"custom_nodes/one/more.py", "custom_nodes/two.py"} <= with_more.keys()
    assert "custom_nodes/two.py" not in originals.put("b")


def test_links_to_nothing_are_copied_as_they_are(originals: Originals) -> None:
    (originals.folder / "packs" / "one" / "broken").symlink_to("nowhere")
    (originals.folder / "comfyui" / "broken").symlink_to("nowhere")
    originals.copies.make_ahead(originals.recipe)

    originals.put("a")

    assert (originals.folder / "a" / "broken").is_symlink()
    assert (originals.folder / "a" / "custom_nodes" / "one" / "broken").is_symlink()


def test_another_recipe_gets_a_copy_of_its_own(originals: Originals) -> None:
    originals.copies.make_ahead(Recipe(originals.recipe.source, (), originals.recipe.python))

    assert "custom_nodes/one/__init__.py" in originals.put("a")


def test_the_next_copies_of_two_environments_are_kept(originals: Originals) -> None:
    recipes = [originals.recipe, *(Recipe(originals.recipe.source, (), Path(name)) for name in ("b", "c"))]
    for recipe in recipes:
        originals.copies.make_ahead(recipe)
    ahead = {path.stat().st_ino for path in (originals.folder / "copies").iterdir()}
    assert len(ahead) == 2

    for number, recipe in enumerate(recipes):
        originals.copies.put(recipe, originals.folder / f"{number}")

    used = [(originals.folder / f"{number}").stat().st_ino in ahead for number in range(3)]
    assert used == [False, True, True]


def test_nothing_is_left_when_the_worker_ends(originals: Originals) -> None:
    originals.copies.make_ahead(originals.recipe)
    originals.copies.close()

    assert not (originals.folder / "copies").exists()
