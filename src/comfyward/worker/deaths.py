"""Workers of this host that died while they tried an environment, so that it does not end one after the other.

A trial holds a lock on a file of its own, and removes the file at its end. A file that nobody holds is of a trial whose
worker has died.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from comfyward.worker.tried import Tried

MOST = 3
KEPT_S = 7 * 24 * 3600.0


class Deaths:
    """The files lie beside the trials that succeeded, and hold under the same circumstances."""

    def __init__(self, tried: Tried) -> None:
        self._tried = tried

    @contextlib.contextmanager
    def watched(self, environment: str) -> Iterator[None]:
        """Held during a trial. Earlier deaths are forgotten if it comes to an end, good or bad. Raises OSError."""
        place = self._tried.beside(environment)
        place.parent.mkdir(parents=True, exist_ok=True)
        path = place.with_name(f"{place.name}.{secrets.token_hex(8)}.trying")
        fresh = path.with_suffix(".new")
        with fresh.open("xb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            os.fsync(file.fileno())  # a trial may end the whole host
            fresh.rename(path)
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
        self.forget(environment)

    def count(self, environment: str) -> int:
        """The number of workers that died during a trial of an environment in the last week."""
        return sum(_is_recent(path) for path in self._left(environment))

    def forget(self, environment: str) -> None:
        """Forgets the deaths, so that the environment is tried again."""
        for path in self._left(environment):
            path.unlink(missing_ok=True)

    def _left(self, environment: str) -> Iterator[Path]:
        """The files that no living trial holds."""
        place = self._tried.beside(environment)
        for path in place.parent.glob(f"{place.name}.*.trying"):
            with contextlib.suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield path


def _is_recent(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime < KEPT_S
    except FileNotFoundError:  # another worker has just forgotten it
        return False
