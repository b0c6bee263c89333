"""Everything that runs and earlier processes left behind: moved aside at once, removed by a thread.

However much there is, nobody waits for its removal. What cannot be removed stays aside, is logged, and is tried again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import threading
from pathlib import Path

from comfyward.sandbox import removal

log = logging.getLogger(__name__)

POLL_S = 1.0
AGAIN_S = 60.0


def set_aside(path: Path, leftovers: Path) -> None:
    """Moves a file or folder into the folder `leftovers`, of the same file system, if it exists. Raises OSError."""
    leftovers.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        parent = os.open(path.parent, removal.FOLDER)
        try:
            set_aside_from(parent, path.name, leftovers)
        finally:
            os.close(parent)


def set_aside_from(opened: int, name: str, leftovers: Path) -> None:
    """Moves an entry of an open folder into the folder `leftovers`. Raises OSError, FileNotFoundError."""
    removal.make_movable(name, opened)
    os.rename(name, leftovers / secrets.token_hex(8), src_dir_fd=opened)


class Leftovers:
    """The folder `folder`, which a thread empties while this process runs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._empty, name="leftovers", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread after the entry that it removes now; the next process continues."""
        self._ended.set()

    def _empty(self) -> None:
        kept: set[str] = set()
        while not self._ended.is_set():
            names = set(os.listdir(self._folder)) if self._folder.is_dir() else set()
            fresh = names - kept
            kept = {name for name in fresh or names if not self._is_removed(name)} | (kept if fresh else set())
            self._ended.wait(POLL_S if fresh or not kept else AGAIN_S)

    def _is_removed(self, name: str) -> bool:
        try:
            removal.remove_tree(self._folder / name)
        except OSError as error:
            log.warning("%s stays aside: %s", self._folder / name, error, extra={"action": "leftover_kept"})
            return False
        return True
