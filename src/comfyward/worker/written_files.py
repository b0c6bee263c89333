"""The files that packs write beside themselves, or into ComfyUI's source, from their import to the end of a trial.

They write into a private copy, which is compared with its originals: a copied file has the size and time of its
original until somebody writes to it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from comfyward.comfy.copies import Recipe
from comfyward.comfy.private_copy import BYTECODE
from comfyward.worker.result_files import Bounds, ResultFile, found_in, stamp_of

MOST_NAMED, LONGEST_NAME = 20, 200
BOUNDS = Bounds(bytes=1 << 50, entries=200_000, all_characters=64 << 20)


@dataclass
class Written:
    """The number of files, and the first of their paths."""

    count: int = 0
    paths: list[str] = field(default_factory=list)

    def add(self, path: str) -> None:
        self.count += 1
        if len(self.paths) < MOST_NAMED:
            self.paths.append(path[:LONGEST_NAME])


def written_in(copy: Path, recipe: Recipe) -> Mapping[str, Written]:
    """The files that are new or other in a copy: by pack, and under "" those in ComfyUI's source itself."""
    folders = {name: packs for packs, name in recipe.packs}
    found: dict[str, Written] = {}
    for file in found_in(copy, BOUNDS).files:
        if BYTECODE in file.parts:
            continue
        of_packs = folders.get(file.parts[0])
        if of_packs is None:
            if not _is_copy(file, recipe.source.joinpath(*file.parts)):
                found.setdefault("", Written()).add(file.name)
        elif len(file.parts) > 1 and not _is_copy(file, of_packs.joinpath(*file.parts[1:])):
            found.setdefault(file.parts[1], Written()).add(file.name.split("/", 2)[-1])
    return found


def _is_copy(file: ResultFile, original: Path) -> bool:
    try:
        status = os.stat(original)
    except OSError:
        return False
    return stamp_of(status) == file.stamp
