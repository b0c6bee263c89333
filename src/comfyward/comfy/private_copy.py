"""Copies of ComfyUI's source and of packs, which they may write into: many packs do so when they are imported.

What is copied is private to one ComfyUI process; the originals are shared, and read-only for it.
"""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

log = logging.getLogger(__name__)

# Larger files are not copied but linked to: weights that a pack keeps in its folder.
COPY_LIMIT_BYTES = 16 << 20

# Of a ComfyUI folder: data and environments, which ComfyUI is given elsewhere, and what it does not run.
_NOT_SOURCE = {
    *("models", "input", "output", "temp", "user", "files", "custom_nodes"),
    *(
        "venv",
        ".venv",
        "env",
        "python_embeded",
        ".git",
        ".github",
        ".ci",
        "tests",
        "tests-unit",
        "extra_model_paths.yaml",
    ),
}


def of_source(source: Path, target: Path) -> None:
    """ComfyUI without models, inputs, outputs, packs and environments."""
    for entry in source.iterdir():
        if entry.name not in _NOT_SOURCE:
            _copy(entry, target / entry.name)


def of_packs(packs: Path, target: Path) -> None:
    """The packs of a folder that ComfyUI would load."""
    target.mkdir(parents=True, exist_ok=True)
    for entry in sorted(packs.iterdir()) if packs.is_dir() else ():
        is_pack = entry.is_dir() or entry.suffix == ".py"
        if is_pack and not entry.name.startswith(".") and not entry.name.endswith(".disabled"):
            _copy(entry, target / entry.name)


def _copy(entry: Path, target: Path) -> None:
    """With times, so that bytecode stays valid. What cannot be read is left out: ComfyUI could not read it either."""
    try:
        if entry.is_dir():
            ignored = shutil.ignore_patterns(".git", "node_modules")
            shutil.copytree(entry, target, symlinks=True, ignore=ignored, copy_function=_copy_file)
        else:
            _copy_file(entry, target)
    except OSError as error:
        log.warning("%s could not be copied whole: %s", entry, error, extra={"action": "not_copied"})


def _copy_file(source: str | Path, target: str | Path) -> str:
    if os.stat(source, follow_symlinks=False).st_size > COPY_LIMIT_BYTES:
        os.symlink(os.path.realpath(source), target)
    else:
        shutil.copy2(source, target, follow_symlinks=False)
    return str(target)
