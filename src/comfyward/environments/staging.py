"""Folders in which something is made before it is moved to its place, and locks that end with their process.

A process that is killed leaves its folder, but not its lock: whoever comes next removes what nobody holds. So nothing
is ever seen in its place before it is complete.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from comfyward.sandbox.removal import remove_tree


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Waits until no other process or thread holds this lock, and holds it. The file stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Staging:
    """Fresh folders below one folder, on the file system of the places that they are moved to."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @classmethod
    def below(cls, environments: Path) -> Staging:
        """That of a host, whose environments are below this folder."""
        return cls(environments / "staging")

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """An empty folder, removed after the block unless it was moved away. Sweeps what killed processes left."""
        self._root.mkdir(parents=True, exist_ok=True)
        self.sweep()
        lock, folder = self._claimed()
        try:
            yield folder
        finally:
            remove_tree(folder)
            _lock_of(folder).unlink(missing_ok=True)
            lock.close()

    def sweep(self) -> None:
        """Removes the folders whose processes have ended."""
        for path in list(self._root.iterdir()):
            with contextlib.suppress(OSError):
                if path.suffix != ".lock" and not _lock_of(path).exists():  # its program wrote on
                    remove_tree(path)
        for path in list(self._root.glob("*.lock")):
            with contextlib.suppress(OSError), path.open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is(path, lock):
                    remove_tree(path.with_suffix(""))
                    path.unlink()

    def discard(self, path: Path) -> None:
        """Removes a file or folder, which is gone from its place at once."""
        with self.folder() as aside, contextlib.suppress(FileNotFoundError):
            path.rename(aside / "removed")

    def _claimed(self) -> tuple[IO[str], Path]:
        """A new folder and the open file that locks it; another process may sweep a lock that is not yet held."""
        while True:
            folder = self._root / secrets.token_hex(8)
            lock = _lock_of(folder).open("w")
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _is(_lock_of(folder), lock):
                folder.mkdir()
                return lock, folder
            lock.close()


def put_in_place(folder: Path, place: Path) -> None:
    """Moves a complete folder to its place, in one step, also if the machine fails. One that is there already stays."""
    os.sync()
    try:
        folder.rename(place)
    except OSError:
        if not place.is_dir():
            raise
    opened = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def copied(source: Path, target: Path) -> None:
    """Copies a folder, with its times, on which bytecode relies, and its links as they are."""
    shutil.copytree(source, target, symlinks=True)


def _lock_of(folder: Path) -> Path:
    return folder.with_suffix(".lock")


def _is(path: Path, opened: IO[str]) -> bool:
    """True if the path still names the open file."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(opened.fileno()))
    return False
