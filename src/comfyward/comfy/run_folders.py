"""The folders `input/` and `models/` of a ComfyUI, where the files of a run are linked for its duration.

ComfyUI and its nodes may write to both folders, so their contents are hostile: each folder of a path is opened beneath
the last one and never through a link. The bytes are hard links to the host's cache in `files/<digest>/`, which ComfyUI
can only read. `content/<digest>` is a link to ComfyUI's folder: a second path to each file, different for different
content.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from comfyward.comfy import beneath, removal

ROOTS = ("input", "models")


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
    """The two folders below a worker's base folder."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self._placed: list[_Placed] = []
        self._has_stored = False
        self._baseline: dict[tuple[str, ...], tuple[int, frozenset[str]]] = {}  # folder -> (ctime, entries)

    def take_baseline(self) -> None:
        """Records the present entries of both folders, made by packs when ComfyUI started; `clear` leaves them."""
        self._baseline, self._placed = {}, []
        for name in ("replaced", "content"):
            removal.remove_tree(self.base / name)
        for root in ROOTS:
            for folder, subfolders, names, opened in os.fwalk(self.base / root, follow_symlinks=False):
                parts = Path(folder).relative_to(self.base).parts
                self._baseline[parts] = (os.fstat(opened).st_ctime_ns, frozenset((*subfolders, *names)))

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
        """Restores the baseline: removes the run's files, and everything that nodes left beside them."""
        while self._placed:
            placed = self._placed.pop()
            with contextlib.suppress(FileNotFoundError), beneath.opened(self.base, placed.folder) as opened:
                removal.remove(placed.name, opened)
                if placed.replaced is not None:
                    os.rename(self.base / "replaced" / placed.replaced, placed.name, dst_dir_fd=opened)
        if self._has_stored:
            for name in ("files", "content"):
                removal.remove_tree(self.base / name)
                (self.base / name).mkdir(exist_ok=True)
            self._has_stored = False
        for parts in self._baseline:
            self._clear_folder(parts)

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

    def _clear_folder(self, parts: tuple[str, ...]) -> None:
        changed_at, names = self._baseline[parts]
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if self.base.joinpath(*parts).lstat().st_ctime_ns == changed_at:  # no program can set it back
                return
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), beneath.opened(self.base, parts) as opened:
            for name in set(os.listdir(opened)) - names:
                removal.remove(name, opened)
            self._baseline[parts] = (os.fstat(opened).st_ctime_ns, names)


def _exists(name: str, opened: int) -> bool:
    try:
        os.stat(name, dir_fd=opened, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
