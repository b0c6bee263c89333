"""The private copies of ComfyUI's source and packs that a worker's ComfyUI processes get. The next one is made ahead,
for each of the two environments last used.

Making a copy takes a third of a forked start, mostly to create files, so the next one is made once a ComfyUI is
ready. It is used only if none of its originals has changed since.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from comfyward.comfy import private_copy
from comfyward.comfy.bytecode import Bytecode

log = logging.getLogger(__name__)

KEPT_ENVIRONMENTS = 2  # those last used: for as many a copy is ready, and a parent

State = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class Recipe:
    """The parts of a copy: ComfyUI's source, folders of packs with their names in it, the Python of its bytecode."""

    source: Path
    packs: tuple[tuple[Path, str], ...]
    python: Path


@dataclass(frozen=True)
class _Spare:
    state: State
    path: Path


class Copies:
    """Makes copies. Its folder, in which the next ones lie, must be where no ComfyUI can write."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._bytecode = Bytecode()
        self._spares: dict[Recipe, _Spare] = {}  # the last made one is the last
        self._lock = threading.Lock()

    def put(self, recipe: Recipe, target: Path) -> None:
        """Puts a fresh copy at `target`, which must not exist. Raises OSError."""
        with self._lock:
            spare = self._spares.pop(recipe, None)
            if spare is not None and spare.state == _state_of(recipe):
                return self._move(spare.path, target)
            if spare is not None:
                shutil.rmtree(spare.path, ignore_errors=True)
            self._make(recipe, target)

    def _move(self, made: Path, target: Path) -> None:
        try:
            made.rename(target)
        except OSError:
            shutil.rmtree(made, ignore_errors=True)
            raise

    def make_ahead(self, recipe: Recipe) -> None:
        """Makes the next copy, unless there is one already."""
        with self._lock:
            if recipe in self._spares:
                return
            path = self._folder / secrets.token_hex(8)
            try:
                state = _state_of(recipe)
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._make(recipe, path)
            except OSError as error:  # the start will say so
                log.info("no copy is made ahead: %s", error, extra={"action": "no_copy_ahead"})
                shutil.rmtree(path, ignore_errors=True)
            else:
                self._spares[recipe] = _Spare(state, path)
                while len(self._spares) > KEPT_ENVIRONMENTS:
                    shutil.rmtree(self._spares.pop(next(iter(self._spares))).path, ignore_errors=True)

    def close(self) -> None:
        """Removes the copies that were made ahead."""
        with self._lock:
            self._spares.clear()
            shutil.rmtree(self._folder, ignore_errors=True)

    def _make(self, recipe: Recipe, target: Path) -> None:
        target.mkdir()
        private_copy.of_source(recipe.source, target)
        (target / "custom_nodes").mkdir()  # ComfyUI lists it even if there are no packs
        for packs, name in recipe.packs:
            private_copy.of_packs(packs, target / name)
        self._bytecode.add_to(target, recipe.python)


def _state_of(recipe: Recipe) -> State:
    """The state of every original: whatever is done to a file changes it."""
    entries = [*private_copy.entries_of_source(recipe.source)]
    for packs, _ in recipe.packs:
        entries += private_copy.entries_of_packs(packs)
    return tuple(sorted(state for entry in entries for state in _states(os.fspath(entry))))


def _states(path: str) -> Iterator[tuple[str, int, int, int]]:
    """The states of a file, or of a folder and everything in it, except what cannot be read, nor copied either."""
    is_folder = os.path.isdir(path)
    with contextlib.suppress(OSError):
        yield _state(path, os.stat(path, follow_symlinks=is_folder))
        if not is_folder:
            return
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name in private_copy.USELESS:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    yield from _states(entry.path)
                else:
                    yield _state(entry.path, entry.stat(follow_symlinks=False))


def _state(path: str, status: os.stat_result) -> tuple[str, int, int, int]:
    return path, status.st_ino, status.st_size, status.st_ctime_ns
