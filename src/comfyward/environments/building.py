"""Builds what a lock says, in the folder that its digest names:

    ComfyUI/      its source
    packs/NAME/   the packs, with their weights
    files/        other weights: models/ and home/
    venv/         Python and the packages
    lock.json

Everything is made aside and moved there in one step, so a folder that is there is complete. No code of ComfyUI, a pack
or a package runs: packages are unpacked, never built, and an install.py is left alone.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from comfyward.comfy.bytecode import compile_folders
from comfyward.comfy.uv_command import Progress, UvFailed
from comfyward.environments import uv
from comfyward.environments.builds import LOCK, Build, Builds
from comfyward.environments.fetching import WeightsStore
from comfyward.environments.lock import Lock, LockedComfyUI, LockedPack, lock_json
from comfyward.environments.sources import Sources
from comfyward.environments.staging import Staging, copied, put_in_place
from comfyward.environments.target import TARGET
from comfyward.errors import SetupFailed

NEIGHBOURS = 4  # environments in which bytecode is looked for


class Builder:
    """Builds environments on this host. Several processes may build at the same time, also the same one."""

    def __init__(self, builds: Builds, sources: Sources, staging: Staging, weights: WeightsStore) -> None:
        self._builds, self._sources, self._staging, self._weights = builds, sources, staging, weights

    def build(self, lock: Lock, progress: Progress) -> Build:
        """The built environment, made if it is not there. Raises SetupFailed or FetchFailed."""
        if lock.target != TARGET:
            raise SetupFailed(f"It is locked for {lock.target}; this host is {TARGET}.", hint="Lock it here again.")
        digest = lock.digest
        if found := self._builds.find(digest):
            return found
        with self._builds.locked(digest):
            if self._builds.find(digest) is None:
                self._make_aside(lock, digest, progress)
        found = self._builds.find(digest)
        assert found is not None
        return found

    def _make_aside(self, lock: Lock, digest: str, progress: Progress) -> None:
        try:
            with self._staging.folder() as fresh:
                self._make(lock, fresh / digest, progress)
                progress("Saving", None)
                put_in_place(fresh / digest, self._builds.path(digest))
        except OSError as error:
            message = f"It cannot be written to {self._builds.root}: {error.strerror or error}."
            hint = "'comfyward environments prune' frees what older revisions use."
            raise SetupFailed(message, hint=hint) from error

    def _make(self, lock: Lock, folder: Path, progress: Progress) -> None:
        folder.mkdir()
        parts: list[tuple[LockedComfyUI | LockedPack, Path]]
        parts = [(lock.comfyui, folder / "ComfyUI"), *((pack, folder / "packs" / pack.folder) for pack in lock.packs)]
        (folder / "packs").mkdir()
        for number, (part, place) in enumerate(parts):
            progress(f"Copying {place.name}", number / len(parts))
            copied(self._sources.restore(part), place)
        for file in lock.files:
            self._weights.place(file, folder, progress)
        progress("Installing packages", None)
        try:
            uv.install(uv.create(folder / "venv"), lock.packages, progress)
        except UvFailed as failed:
            raise SetupFailed(
                f"Installing the packages failed:\n{failed}",
                hint="Check the network and the free disk space, then build again.",
            ) from failed
        progress("Compiling packages", None)
        (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
        _share_bytecode(packages, self._neighbours(packages.relative_to(folder)))
        compile_folders(Path(sys.executable), packages)
        (folder / LOCK).write_text(lock_json(lock))

    def _neighbours(self, packages: Path) -> Iterator[Path]:
        """The same folder of other installations, the newest first."""
        found = [path for path in self._builds.root.glob(f"*/{packages}") if path.is_dir()]
        return iter(sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)[:NEIGHBOURS])


def _share_bytecode(packages: Path, neighbours: Iterable[Path]) -> None:
    """Links the bytecode of modules that a neighbour has too: the same file, so its bytecode is valid here."""
    for neighbour in neighbours:
        with contextlib.suppress(OSError):  # it is being removed
            for cache in neighbour.rglob("__pycache__"):
                here = packages / cache.relative_to(neighbour)
                if here.parent.is_dir():
                    _link_bytecode(cache, here)


def _link_bytecode(cache: Path, here: Path) -> None:
    for entry in cache.iterdir():
        module = f"{entry.name.partition('.')[0]}.py"
        with contextlib.suppress(OSError):  # not here, there already, or on another file system
            if os.path.samestat((cache.parent / module).stat(), (here.parent / module).stat()):
                here.mkdir(exist_ok=True)
                os.link(entry, here / entry.name)
