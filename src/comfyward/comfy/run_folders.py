"""The folders `input/` and `models/` of a ComfyUI, where the files of a run are linked for its duration.

ComfyUI and its nodes may write to both folders, so their contents are hostile: each folder of a path is opened beneath
the last one and never through a link. The bytes are hard links to the host's cache in `files/<digest>/`, which ComfyUI
can only read. `content/<digest>` is a link to ComfyUI's folder: a second path to each file, different for different
content.

Nothing is removed here, where the next run waits: what a run leaves is moved aside, whole folders at once.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from comfyward.sandbox import beneath, leftovers

ROOTS = ("input", "models")
MAX_DEPTH = 64  # of the folders that packs make
MAX_MOVED = 20_000  # entries after one run; with more of them the whole ComfyUI is replaced


@dataclass(frozen=True)
class StagedFile:
    """A blob linked for one run, to be placed at `path` in ComfyUI's folders."""

    path: str  # /input/… or /models/…
    link: Path
    digest: str


@dataclass(frozen=True)
class _Placed:
    folder: tuple[str, ...]
    name: str
    replaced: str | None  # the name in `replaced/` of the entry that was there before


class RunFolders:
    """The two folders below a worker's base folder. What runs leave is moved to the folder `aside`."""

    def __init__(self, base: Path, aside: Path) -> None:
        self.base, self._aside = base, aside
        self._placed: list[_Placed] = []
        self._has_stored = False
        self._baseline: dict[tuple[str, ...], tuple[int, frozenset[str]]] = {}  # folder -> (ctime, entries)

    def take_baseline(self) -> None:
        """Records the present entries of both folders, made by packs when ComfyUI started; `clear` leaves them."""
        self._baseline, self._placed = {}, []
        for name in ("replaced", "content"):
            leftovers.set_aside(self.base / name, self._aside)
        for root in ROOTS:
            self._remember((root,))

    def _remember(self, folder: tuple[str, ...]) -> None:
        """Records the entries of a folder and of those in it, MAX_DEPTH deep."""
        waiting = [folder]
        while waiting:
            parts = waiting.pop()
            with contextlib.suppress(FileNotFoundError), beneath.opened(self.base, parts) as opened:
                changed_at = os.fstat(opened).st_ctime_ns
                with os.scandir(opened) as entries:
                    inside = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
                self._baseline[parts] = (changed_at, frozenset(inside))
                if len(parts) < MAX_DEPTH:
                    waiting += [(*parts, name) for name, is_folder in inside.items() if is_folder]

    def place(self, files: Iterable[StagedFile]) -> None:
        """Links each file at its path. Raises OSError."""
        for file in files:
            self._has_stored = True
            *folder, name = file.path.strip("/").split("/")
            stored = self._store(file, name)
            with beneath.opened(self.base, folder, create=True) as opened:
                replaced = self._set_aside(name, opened)
                os.symlink(os.path.join(*[".."] * len(folder), stored), name, dir_fd=opened)
            self._placed.append(_Placed(tuple(folder), name, replaced))

    def clear(self) -> None:
        """Restores the baseline: moves aside the run's files, and everything that nodes left beside them.

        Raises OSError if there is too much to move: all of it stays, and disappears with its ComfyUI.
        """
        while self._placed:
            placed = self._placed.pop()
            with contextlib.suppress(FileNotFoundError), beneath.opened(self.base, placed.folder) as opened:
                with contextlib.suppress(FileNotFoundError):
                    leftovers.set_aside_from(opened, placed.name, self._aside)
                if placed.replaced is not None:
                    os.rename(self.base / "replaced" / placed.replaced, placed.name, dst_dir_fd=opened)
        if self._has_stored:
            for name in ("files", "content"):
                leftovers.set_aside(self.base / name, self._aside)
                (self.base / name).mkdir(exist_ok=True)
            self._has_stored = False
        room = MAX_MOVED
        for parts in self._baseline:
            room -= self._clear_folder(parts, room)

    def _store(self, file: StagedFile, name: str) -> str:
        stored = self.base / "files" / file.digest / name.replace("%", "_")  # FFmpeg reads "50%.png" as a pattern
        stored.parent.mkdir(parents=True, exist_ok=True)
        by_content = self.base / "content" / file.digest
        by_content.parent.mkdir(exist_ok=True)
        if not by_content.is_symlink():
            by_content.symlink_to(Path("..") / "source")
        if not stored.exists():
            try:
                os.link(file.link, stored)
            except OSError:  # another file system; a symlink would lead out of the sandbox
                shutil.copyfile(file.link, stored)
        return str(stored.relative_to(self.base))

    def _set_aside(self, name: str, opened: int) -> str | None:
        """Moves an entry with this name (an operator's model, say) to `replaced/` and returns its name there."""
        if not _exists(name, opened):
            return None
        replaced = str(len(self._placed))
        (self.base / "replaced").mkdir(exist_ok=True)
        os.rename(name, self.base / "replaced" / replaced, src_dir_fd=opened)
        return replaced

    def _clear_folder(self, parts: tuple[str, ...], room: int) -> int:
        """The number of entries that were moved aside, `room` at most. Raises OSError if there are more."""
        changed_at, names = self._baseline[parts]
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if os.lstat(os.path.join(self.base, *parts)).st_ctime_ns == changed_at:  # no program can set it back
                return 0
        moved = 0
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), beneath.opened(self.base, parts) as opened:
            with os.scandir(opened) as entries:
                left = (entry.name for entry in entries if entry.name not in names)
                found = list(itertools.islice(left, room + 1))
            if len(found) > room:
                raise OSError(f"more than {MAX_MOVED} entries in input/ and models/")
            for name in found:
                with contextlib.suppress(FileNotFoundError):
                    leftovers.set_aside_from(opened, name, self._aside)
                    moved += 1
            self._baseline[parts] = (os.fstat(opened).st_ctime_ns, names)
        return moved


def _exists(name: str, opened: int) -> bool:
    try:
        os.stat(name, dir_fd=opened, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
