"""Folders below the system's temporary one. Those of a process that was killed are removed by the next one that starts.

A process holds a lock on each of its folders, which ends with it however it ends. Whoever gets the lock may remove the
folder; links and folders of other users are left alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from pathlib import Path

from comfyward.sandbox import removal

PREFIX, SUFFIX = "cw-", ".held"  # versions before this one locked no folder, and called none of theirs so


class TemporaryFolder:
    """A new folder, of this user alone, until it is closed. Its path is short: it may hold a Unix socket."""

    def __init__(self) -> None:
        self._held: int | None
        self.path, self._held = _made()

    def close(self) -> None:
        """Removes the folder with its contents. May be repeated."""
        if self._held is not None:
            with contextlib.suppress(OSError):
                removal.remove_tree(self.path)
            os.close(self._held)
            self._held = None

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.close()


def remove_abandoned() -> int:
    """Removes the folders of processes that are gone. Returns how many."""
    removed = 0
    with contextlib.suppress(OSError):
        here = os.open(tempfile.gettempdir(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in os.listdir(here):
                if name.startswith(PREFIX) and name.endswith(SUFFIX):
                    removed += _remove_if_abandoned(name, here)
        finally:
            os.close(here)
    return removed


def _made() -> tuple[Path, int]:
    """(path, descriptor with a lock) of a new folder. One that another process took for abandoned is made again."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX, suffix=SUFFIX))
        with contextlib.suppress(FileNotFoundError):
            opened = os.open(path, removal.FOLDER)
            if _lock(opened) and path.exists():
                return path, opened
            os.close(opened)


def _remove_if_abandoned(name: str, here: int) -> bool:
    """Removes a folder of this user that no process holds any more, and returns True. Of what is no folder nothing is
    opened."""
    with contextlib.suppress(OSError):
        opened = os.open(name, removal.FOLDER, dir_fd=here)
        try:
            if os.fstat(opened).st_uid == os.geteuid() and _lock(opened):
                removal.remove(name, here)
                return True
        finally:
            os.close(opened)
    return False


def _lock(opened: int) -> bool:
    """Takes the lock of a folder; False if another process has it."""
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
