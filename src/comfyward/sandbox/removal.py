"""Removes the files and folders that nodes leave behind, even without permissions or nested without end.

The entries of a folder are moved up before it is removed, so that depth and path length do not matter. No link is
followed.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from pathlib import Path

MAX_ROUNDS = 50_000
MAX_NAMES = 10_000  # at a time: a folder may hold millions
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove(name: str, opened: int) -> None:
    """Removes an entry of an open folder, if it exists. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        if is_folder(name, opened):
            _remove_folder(name, opened)
        else:
            os.unlink(name, dir_fd=opened)


def remove_tree(path: Path) -> None:
    """Removes a file, or a folder with its contents, if it exists. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        opened = os.open(path.parent, FOLDER)
        try:
            remove(path.name, opened)
        finally:
            os.close(opened)


def is_folder(name: str, opened: int) -> bool:
    """True for a folder, False for a file or a link. Raises FileNotFoundError."""
    return stat.S_ISDIR(os.stat(name, dir_fd=opened, follow_symlinks=False).st_mode)


def make_movable(name: str, opened: int) -> None:
    """Makes a folder writable, without which it can be neither emptied nor moved."""
    if is_folder(name, opened):
        os.chmod(name, stat.S_IRWXU, dir_fd=opened)


def _remove_folder(name: str, opened: int) -> None:
    make_movable(name, opened)
    folder = os.open(name, FOLDER, dir_fd=opened)
    try:
        numbers = itertools.count()
        for _ in range(MAX_ROUNDS):  # a bound, in case a process still writes into it
            entries = _some_of(folder)
            for entry in entries:
                _flatten(entry, folder, numbers)
            if not entries:
                break
    finally:
        os.close(folder)
    os.rmdir(name, dir_fd=opened)


def _flatten(name: str, top: int, numbers: itertools.count[int]) -> None:
    """Removes a file; moves the folders in a folder up to `top`, and removes it with its files."""
    if not is_folder(name, top):
        return os.unlink(name, dir_fd=top)
    make_movable(name, top)
    folder = os.open(name, FOLDER, dir_fd=top)
    try:
        for _ in range(MAX_ROUNDS):
            entries = _some_of(folder)
            for entry in entries:
                if is_folder(entry, folder):
                    make_movable(entry, folder)
                    os.rename(entry, _unused(top, numbers), src_dir_fd=folder, dst_dir_fd=top)
                else:
                    os.unlink(entry, dir_fd=folder)
            if not entries:
                break
    finally:
        os.close(folder)
    os.rmdir(name, dir_fd=top)


def _some_of(folder: int) -> list[str]:
    """The names of some entries of an open folder, all of them if they are few."""
    with os.scandir(folder) as entries:
        return [entry.name for entry in itertools.islice(entries, MAX_NAMES)]


def _unused(opened: int, numbers: itertools.count[int]) -> str:
    for number in numbers:
        try:
            os.stat(f"{number}", dir_fd=opened, follow_symlinks=False)
        except FileNotFoundError:
            return f"{number}"
    raise AssertionError("numbers have no end")
