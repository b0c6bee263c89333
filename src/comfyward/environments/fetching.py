"""Fetches the weights of environments through the host's blob cache: guarded, hashed, and once for all of its programs.

A build links them, so the cache keeps a file for as long as a build has it.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from comfyward.comfy.uv_command import Progress
from comfyward.environments.builds import FILES
from comfyward.environments.weights import PACKS, Weights
from comfyward.errors import InvalidEnvironment, SetupFailed
from comfyward.files.cache import Entry, HostCache, WantedFile
from comfyward.files.fetch import Limits
from comfyward.files.guard import Guard
from comfyward.files.pace import LeastSpeed
from comfyward.files.stop import Stop
from comfyward.ids import new_id
from comfyward.runs.files import Url
from comfyward.settings import Settings

PINS = "environments"  # in place of a worker, in the cache's folder of pins
READ_ONLY = 0o444


@dataclass(frozen=True)
class Fetching:
    """The cache of a host, and the bounds of what is fetched into it. It passes to processes as JSON."""

    cache: str
    cache_bytes: int = 50 << 30
    allow: tuple[str, ...] = ()
    file_bytes: int = 200 << 30
    seconds: float = 3600.0
    connections: int = 8
    least_bytes_per_s: float = 0.0
    window_s: float = 60.0

    @classmethod
    def of(cls, settings: Settings) -> Fetching:
        """As the operator has set it."""
        return cls(
            str(settings.data_dir.resolve() / "cache"),
            settings.cache_limit_bytes,
            tuple(settings.fetch_allow),
            settings.fetch_limit_bytes,
            settings.fetch_timeout_s,
            settings.fetch_connections,
            settings.fetch_least_bytes_per_s,
            settings.fetch_window_s,
        )

    @classmethod
    def below(cls, root: Path) -> Fetching:
        """A cache beside environments, for public addresses only."""
        return cls(str(root / "cache"))

    @property
    def guard(self) -> Guard:
        return Guard.allowing(self.allow)

    def opened(self) -> HostCache:
        """The cache."""
        least = LeastSpeed(self.least_bytes_per_s, self.window_s)
        limits = Limits(self.file_bytes, self.seconds, self.connections, least)
        return HostCache(Path(self.cache), self.cache_bytes, self.guard, limits)


class WeightsStore:
    """Gets weights for locks and builds of this host."""

    def __init__(self, fetching: Fetching) -> None:
        self._fetching = fetching

    def pinned(self, file: Weights, progress: Progress) -> Weights:
        """The file with its digest and size, fetched to learn them. Raises FetchFailed, InvalidEnvironment …"""
        with self._obtained(file, progress) as (entry, _):
            if file.size and file.size != entry.size:
                message = f"The file for '{file.path}' has {entry.size} bytes; the spec says {file.size}."
                raise InvalidEnvironment(message, hint="Remove 'size', or correct the address.")
            return replace(file, sha256=entry.sha256, size=entry.size)

    def place(self, file: Weights, build: Path, progress: Progress) -> None:
        """Puts a file to its place in a build in the making, as a hard link where it can.

        Raises FetchFailed or SetupFailed if its address has another file by now.
        """
        place = place_in(build, file.path)
        _make_folders(build, place.parent)
        with self._obtained(file, progress) as (_, pin):
            _link(pin, place)
        if (branch := file.branch) is not None:
            told = place_in(build, branch[0])
            _make_folders(build, told.parent)
            if not told.exists():
                told.write_text(branch[1])

    @contextmanager
    def _obtained(self, file: Weights, progress: Progress) -> Iterator[tuple[Entry, Path]]:
        """The cache's entry of a file, and a link to it during the block."""
        cache = self._fetching.opened()
        folder = cache.pin_folder(PINS, new_id())

        def tell(done: int, total: int | None) -> None:
            progress(f"Fetching {file.name}", done / total if total else None)

        try:
            source = Url(file.url, digest=file.sha256 or None)
            wanted = WantedFile(file.path, source, immutable=bool(file.sha256))
            entry = cache.obtain(wanted, folder / "file", tell, Stop())
            yield entry, folder / "file"
        finally:
            cache.unpin(folder)


def place_in(build: Path, path: str) -> Path:
    """The place of a file in the folder of a build."""
    return build / path if path.startswith(f"{PACKS}/") else build / FILES / path


def _make_folders(build: Path, folder: Path) -> None:
    """Makes the folder of a file. Raises SetupFailed if a link of a pack leads elsewhere."""
    folder.mkdir(parents=True, exist_ok=True)
    if folder.resolve() != build.resolve() / folder.relative_to(build):
        raise SetupFailed(f"{folder.relative_to(build)} is a link of the pack: no file can be put there.")


def _link(pin: Path, place: Path) -> None:
    try:
        os.link(pin, place)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK):
            raise
        shutil.copyfile(pin, place)
        place.chmod(READ_ONLY)
