"""Writable copies of ComfyUI's source and of packs: many packs write into their folder when they are imported.

A copy is private to one ComfyUI process; the originals are shared and read-only.
"""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

log = logging.getLogger(__name__)

# Larger files, such as weights in a pack's folder, are linked.
COPY_LIMIT_BYTES = 16 << 20

# Entries of a ComfyUI folder that are not copied: data and environments, which have other places, and unused files.
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
    """Copies ComfyUI without models, inputs, outputs, packs and environments."""
    for entry in source.iterdir():
        if entry.name not in _NOT_SOURCE:
            _copy(entry, target / entry.name)


def of_packs(packs: Path, target: Path) -> None:
    """Copies the packs in a folder that ComfyUI would load."""
    target.mkdir(parents=True, exist_ok=True)
    for entry in sorted(packs.iterdir()) if packs.is_dir() else ():
        is_pack = entry.is_dir() or entry.suffix == ".py"
        if is_pack and not entry.name.startswith(".") and not entry.name.endswith(".disabled"):
            _copy(entry, target / entry.name)


def _copy(entry: Path, target: Path) -> None:
    """Copies with times, so that bytecode stays valid, and skips unreadable files, useless to ComfyUI as well."""
    try:
        if entry.is_dir():
            ignored = shutil.ignore_patterns(".git", "node_modules")
            shutil.copytree(entry, target, symlinks=True, ignore=ignored, copy_function=_copy_file)
        else:
            _copy_file(entry, target)
    except OSError as error:
        log.warning("%s could not be copied completely: %s", entry, error, extra={"action": "not_copied"})


def _copy_file(source: str | Path, target: str | Path) -> str:
    if os.stat(source, follow_symlinks=False).st_size > COPY_LIMIT_BYTES:
        os.symlink(os.path.realpath(source), target)
    else:
        shutil.copy2(source, target, follow_symlinks=False)
    return str(target)
