"""Writable copies of ComfyUI's source and of packs: many packs write into their folder when they are imported.

A copy is private to one ComfyUI process; the originals are shared and read-only.
"""

from __future__ import annotations

import logging
import os
import shutil
import stat
from collections.abc import Set
from pathlib import Path

log = logging.getLogger(__name__)

# Larger files, such as weights in a pack's folder, are linked.
COPY_LIMIT_BYTES = 16 << 20

USELESS = frozenset({".git", "node_modules"})
BYTECODE = "__pycache__"

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
    for entry in entries_of_source(source):
        _copy(entry, target / entry.name, USELESS)


def of_packs(packs: Path, target: Path) -> None:
    """Copies the packs in a folder that ComfyUI would load, without bytecode: see `bytecode`."""
    target.mkdir(parents=True, exist_ok=True)
    for entry in entries_of_packs(packs):
        _copy(entry, target / entry.name, USELESS | {BYTECODE})


def of_weights(weights: Path, target: Path) -> None:
    """Puts the files of a folder into another one that may have files; large ones are linked. Raises OSError."""
    target.mkdir(exist_ok=True)
    for entry in sorted(weights.iterdir()):
        if entry.is_dir():
            of_weights(entry, target / entry.name)
        else:
            _copy_file(os.fspath(entry), os.fspath(target / entry.name))


def entries_of_source(source: Path) -> list[Path]:
    """The files and folders of ComfyUI that are copied."""
    return [entry for entry in source.iterdir() if entry.name not in _NOT_SOURCE]


def entries_of_packs(packs: Path) -> list[Path]:
    """The packs in a folder that ComfyUI would load."""
    entries = sorted(packs.iterdir()) if packs.is_dir() else []
    return [entry for entry in entries if _is_pack(entry)]


def _is_pack(entry: Path) -> bool:
    is_loaded = entry.is_dir() or entry.suffix == ".py"
    return is_loaded and not entry.name.startswith((".", BYTECODE)) and not entry.name.endswith(".disabled")


def _copy(entry: Path, target: Path, without: Set[str]) -> None:
    """Copies with times, so that bytecode stays valid, and skips unreadable files, useless to ComfyUI as well."""
    try:
        if entry.is_dir():
            _copy_folder(os.fspath(entry), os.fspath(target), without)
        else:
            _copy_file(os.fspath(entry), os.fspath(target))
    except OSError as error:
        log.warning("%s could not be copied completely: %s", entry, error, extra={"action": "not_copied"})


def _copy_folder(source: str, target: str, without: Set[str]) -> None:
    """Copies what it can, and raises the first OSError afterwards."""
    os.mkdir(target)
    failed: list[OSError] = []
    with os.scandir(source) as entries:
        for entry in entries:
            if entry.name in without:
                continue
            copied = f"{target}/{entry.name}"
            try:
                if entry.is_dir(follow_symlinks=False):
                    _copy_folder(entry.path, copied, without)
                else:
                    _copy_file(entry.path, copied)
            except OSError as error:
                failed.append(error)
    shutil.copystat(source, target)
    if failed:
        raise failed[0]


def _copy_file(source: str, target: str) -> None:
    """Copies a file or a link. What is neither, such as a pipe, would block its reader, and is left out."""
    status = os.stat(source, follow_symlinks=False)
    if stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(source), target)
    elif status.st_size > COPY_LIMIT_BYTES:
        os.symlink(os.path.realpath(source), target)
    elif stat.S_ISREG(status.st_mode):
        with open(source, "rb") as original, open(target, "xb") as copy:
            copy.write(original.read())
            os.fchmod(copy.fileno(), stat.S_IMODE(status.st_mode))
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
