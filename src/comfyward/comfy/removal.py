"""Takes away what nodes leave, whatever it is: folders without permissions, and folders in folders without end.

Neither depth nor the length of a path matters: what lies in a folder is moved up before the folder is removed. No link
is followed.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from pathlib import Path

MAX_DEPTH = 20_000
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove(name: str, opened: int) -> None:
    """Removes what has a name in an open folder, if anything has. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        if is_folder(name, opened):
            _remove_folder(name, opened)
        else:
            os.unlink(name, dir_fd=opened)


def remove_tree(path: Path) -> None:
    """Removes a file or folder of ours with all that is in it, if it is there. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        opened = os.open(path.parent, FOLDER)
        try:
            remove(path.name, opened)
        finally:
            os.close(opened)


def is_folder(name: str, opened: int) -> bool:
    """Raises FileNotFoundError."""
    return stat.S_ISDIR(os.stat(name, dir_fd=opened, follow_symlinks=False).st_mode)


def make_movable(name: str, opened: int) -> None:
    """A folder without permission to write can neither be emptied nor moved."""
    if is_folder(name, opened):
        os.chmod(name, stat.S_IRWXU, dir_fd=opened)


def _remove_folder(name: str, opened: int) -> None:
    make_movable(name, opened)
    folder = os.open(name, FOLDER, dir_fd=opened)
    try:
        numbers = itertools.count()
        for _ in range(MAX_DEPTH):  # whoever still writes into it does not keep us
            entries = os.listdir(folder)
            for entry in entries:
                _take_apart(entry, folder, numbers)
            if not entries:
                break
    finally:
        os.close(folder)
    os.rmdir(name, dir_fd=opened)


def _take_apart(name: str, top: int, numbers: itertools.count[int]) -> None:
    """Removes a file; of a folder what lies in it moves up, and the folder goes."""
    if not is_folder(name, top):
        return os.unlink(name, dir_fd=top)
    make_movable(name, top)
    folder = os.open(name, FOLDER, dir_fd=top)
    try:
        for entry in os.listdir(folder):
            if is_folder(entry, folder):
                make_movable(entry, folder)
                os.rename(entry, _unused(top, numbers), src_dir_fd=folder, dst_dir_fd=top)
            else:
                os.unlink(entry, dir_fd=folder)
    finally:
        os.close(folder)
    os.rmdir(name, dir_fd=top)


def _unused(opened: int, numbers: itertools.count[int]) -> str:
    for number in numbers:
        try:
            os.stat(f"{number}", dir_fd=opened, follow_symlinks=False)
        except FileNotFoundError:
            return f"{number}"
    raise AssertionError("numbers have no end")
