"""The built environments of this host, each in the folder that its digest names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from comfyward.environments.staging import Staging, locked
from comfyward.ids import is_digest

LOCK, FILES = "lock.json", "files"


@dataclass(frozen=True)
class Build:
    """A built environment, complete."""

    digest: str
    path: Path

    @property
    def comfyui(self) -> Path:
        return self.path / "ComfyUI"

    @property
    def python(self) -> Path:
        return self.path / "venv" / "bin" / "python"

    @property
    def packs(self) -> Path:
        return self.path / "packs"

    @property
    def files(self) -> Path:
        """Weights that lie in no folder of a pack: `models` and `home`. It may be missing."""
        return self.path / FILES

    def sizes(self) -> tuple[int, int]:
        """(bytes of all files, bytes of those that only this environment has; the others are shared by hard links)."""
        total = own = 0
        for status in _files(self.path):
            total += status.st_size
            own += status.st_size if status.st_nlink == 1 else 0
        return total, own


class Builds:
    """The environments below one folder."""

    def __init__(self, root: Path, staging: Staging) -> None:
        self.root, self._staging = root.resolve(), staging

    def path(self, digest: str) -> Path:
        return self.root / digest

    def find(self, digest: str) -> Build | None:
        """The environment of a digest; None if it is not built here."""
        return Build(digest, self.path(digest)) if self.path(digest).is_dir() else None

    def all(self) -> list[Build]:
        """Every environment, by digest."""
        if not self.root.is_dir():
            return []
        names = sorted(path.name for path in self.root.iterdir() if path.is_dir() and is_digest(path.name))
        return [Build(name, self.path(name)) for name in names]

    def locked(self, digest: str) -> AbstractContextManager[None]:
        """Held while an environment is built or removed."""
        return locked(self.root / "locks" / digest)

    def remove(self, digest: str) -> None:
        """Removes an environment, which is gone at once."""
        with self.locked(digest):
            self._staging.discard(self.path(digest))


def _files(folder: Path) -> Iterator[os.stat_result]:
    for parent, _, names in os.walk(folder):
        for name in names:
            yield os.lstat(os.path.join(parent, name))
