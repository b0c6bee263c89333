"""`input/` and `models/` of a ComfyUI: a run's files come there as links, and go again.

ComfyUI and its nodes may write to both folders, so whatever lies in them is hostile: each folder on the way is opened
beneath the last one and never through a link. The bytes themselves are hard links to the host's cache; they lie in
`files/<digest>/`, which ComfyUI can only read. So does `content/<digest>`, a link to ComfyUI's folder: another path to
each file, which differs when its content does.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from comfyward.comfy import beneath, removal

ROOTS = ("input", "models")


@dataclass(frozen=True)
class StagedFile:
    """A blob linked for one run, waiting to get its name among ComfyUI's folders."""

    path: str  # /input/… or /models/…
    link: Path
    digest: str


@dataclass(frozen=True)
class _Placed:
    folder: tuple[str, ...]
    name: str
    kept: str | None  # what had the name before, in `kept/`


@dataclass
class RunFolders:
    """Below a worker's base folder."""

    base: Path
    _placed: list[_Placed] = field(default_factory=list)
    _has_stored: bool = False
    _pristine: dict[tuple[str, ...], tuple[int, frozenset[str]]] = field(default_factory=dict)

    def remember(self) -> None:
        """Says that what the two folders hold now belongs there: packs made it when ComfyUI started."""
        self._pristine, self._placed = {}, []
        for name in ("kept", "content"):
            removal.remove_tree(self.base / name)
        for root in ROOTS:
            for folder, subfolders, names, opened in os.fwalk(self.base / root, follow_symlinks=False):
                parts = Path(folder).relative_to(self.base).parts
                self._pristine[parts] = (os.fstat(opened).st_ctime_ns, frozenset((*subfolders, *names)))

    def place(self, files: Iterable[StagedFile]) -> None:
        """Gives each file its name."""
        for file in files:
            self._has_stored = True
            *folder, name = file.path.strip("/").split("/")
            stored = self._store(file, name)
            with beneath.opened(self.base, folder, create=True) as opened:
                kept = self._keep(name, opened)
                os.symlink(os.path.join(*[".."] * len(folder), stored), name, dir_fd=opened)
            self._placed.append(_Placed(tuple(folder), name, kept))

    def clear(self) -> None:
        """Takes the run's files away, and whatever nodes left beside them."""
        while self._placed:
            placed = self._placed.pop()
            with contextlib.suppress(FileNotFoundError), beneath.opened(self.base, placed.folder) as opened:
                removal.remove(placed.name, opened)
                if placed.kept is not None:
                    os.rename(self.base / "kept" / placed.kept, placed.name, dst_dir_fd=opened)
        if self._has_stored:
            for name in ("files", "content"):
                removal.remove_tree(self.base / name)
                (self.base / name).mkdir(exist_ok=True)
            self._has_stored = False
        for parts in self._pristine:
            self._clear_folder(parts)

    def _store(self, file: StagedFile, name: str) -> str:
        stored = self.base / "files" / file.digest / name.replace("%", "_")  # FFmpeg takes "50%.png" for a pattern
        stored.parent.mkdir(parents=True, exist_ok=True)
        by_content = self.base / "content" / file.digest
        by_content.parent.mkdir(exist_ok=True)
        if not by_content.is_symlink():
            by_content.symlink_to(Path("..") / "source")
        if not stored.exists():
            try:
                os.link(file.link, stored)
            except OSError:  # another file system: a copy is slow but right; a symlink would lead out of the sandbox
                shutil.copyfile(file.link, stored)
        return str(stored.relative_to(self.base))

    def _keep(self, name: str, opened: int) -> str | None:
        """Puts what has a name now (the operator's model, say) aside for as long as the run lasts."""
        if not _exists(name, opened):
            return None
        kept = str(len(self._placed))
        (self.base / "kept").mkdir(exist_ok=True)
        os.rename(name, self.base / "kept" / kept, src_dir_fd=opened)
        return kept

    def _clear_folder(self, parts: tuple[str, ...]) -> None:
        changed_at, names = self._pristine[parts]
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if self.base.joinpath(*parts).lstat().st_ctime_ns == changed_at:  # which no program can set back
                return
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), beneath.opened(self.base, parts) as opened:
            for name in set(os.listdir(opened)) - names:
                removal.remove(name, opened)
            self._pristine[parts] = (os.fstat(opened).st_ctime_ns, names)


def _exists(name: str, opened: int) -> bool:
    try:
        os.stat(name, dir_fd=opened, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
