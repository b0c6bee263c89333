"""Files that a run writes into ComfyUI's folders. A node may still be writing, so all of it is hostile.

Nothing is found by its path: each folder is opened beneath the one above, without links. Pipes, sockets and devices are
left alone. What a run leaves has bounds, and what is over them is not read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from comfyward.files.digest import Hasher
from comfyward.sandbox import beneath
from comfyward.worker.complete_files import Stamp

CHUNK_BYTES = 1 << 20
SLICE_BYTES = 32 << 20  # hashed and copied in one step
MAX_COPIED_BYTES = 1 << 30  # a larger result is moved, when the run is over


@dataclass(frozen=True)
class Bounds:
    """The most that a run may leave: bytes in all files, files and folders, folders in folders, characters of a name
    and of all names."""

    bytes: int
    entries: int = 10_000
    depth: int = 64
    name_characters: int = 1000
    all_characters: int = 4 << 20

    def allow_name(self, parts: tuple[str, ...]) -> bool:
        return len(parts) <= self.depth and len(_text("/".join(parts))) <= self.name_characters


@dataclass(frozen=True, order=True)
class ResultFile:
    """A regular file below a folder. `name` is its path as text, which two files may share; `parts` are exact."""

    name: str
    parts: tuple[str, ...]
    stamp: Stamp

    @property
    def size(self) -> int:
        return self.stamp[0]


@dataclass
class FoundFiles:
    """The files below a folder that are within the bounds, by name, and what is over them, as a sentence."""

    files: list[ResultFile] = field(default_factory=list)
    excess: str | None = None


@dataclass(frozen=True)
class Copy:
    """A consistent copy of a file."""

    path: Path
    stamp: Stamp
    hasher: Hasher


def found_in(folder: Path, bounds: Bounds) -> FoundFiles:
    """The regular files below a folder. Leaves out links, which may point anywhere, and folders that cannot be
    opened."""
    found = FoundFiles()
    found.files = sorted(_walked(folder, bounds, found))
    if sum(file.size for file in found.files) > bounds.bytes:  # a file with gaps counts like one without
        return FoundFiles(excess=f"The run left more than {_gib(bounds.bytes)} of files.")
    return found


def _walked(folder: Path, bounds: Bounds, found: FoundFiles) -> Iterator[ResultFile]:
    """The files up to the bounds; what is over them is written to `found`."""
    folders: list[tuple[str, ...]] = [()]
    entries = characters = 0
    with beneath.opened(folder.parent, [folder.name]) as top:
        while folders:
            inside = folders.pop()
            for name, status in _entries(top, inside):
                parts = (*inside, name)
                entries, characters = entries + 1, characters + len(_text("/".join(parts)))
                if entries > bounds.entries:
                    found.excess = f"The run left more than {bounds.entries} files and folders."
                elif len(parts) > bounds.depth:
                    found.excess = f"The run left folders that are nested more than {bounds.depth} deep."
                elif characters > bounds.all_characters or not bounds.allow_name(parts):
                    found.excess = "The run left files whose names are too long."
                elif stat.S_ISDIR(status.st_mode):
                    folders.append(parts)
                elif stat.S_ISREG(status.st_mode):
                    yield ResultFile(_text("/".join(parts)), parts, stamp_of(status))
                if entries > bounds.entries or characters > bounds.all_characters:
                    return


def _entries(top: int, parts: tuple[str, ...]) -> Iterator[tuple[str, os.stat_result]]:
    """(name, status) of the entries of a folder; none if it cannot be opened any more."""
    try:
        folder = beneath.open_folder(top, parts)
    except FileNotFoundError:
        return
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    yield entry.name, entry.stat(follow_symlinks=False)
                except OSError:
                    continue  # it is gone
    finally:
        os.close(folder)


def take(file: ResultFile, folder: Path, target: Path) -> bool:
    """Moves a file to a folder that nodes cannot write to. Returns False if it is no regular file any more.

    A worker that is not root's can read what its node forbade to read.
    """
    *above, last = file.parts
    try:
        with beneath.opened(folder.parent, [folder.name, *above]) as here:
            os.rename(last, target, src_dir_fd=here)
        if not stat.S_ISREG(target.lstat().st_mode):
            return False
        if target.stat().st_uid == os.geteuid():
            target.chmod(stat.S_IRUSR | stat.S_IWUSR)
    except OSError:
        return False
    return True


def read_in(folder: Path, file: ResultFile) -> bytes | None:
    """The bytes of a file below a folder; None if it is no regular file any more, or its node forbade to read it."""
    try:
        with _open_below(folder, file.parts) as opened:
            return opened.read(file.size)
    except OSError:
        return None


def read(path: Path, size: int) -> bytes:
    """The first `size` bytes of a file in a folder of ours: it may have become longer."""
    with _open_below(path.parent, (path.name,)) as file:
        return file.read(size)


def hashed(path: Path, size: int) -> Generator[None, None, Hasher]:
    """The digests of the first `size` bytes of a file in a folder of ours."""
    hasher = Hasher()
    with _open_below(path.parent, (path.name,)) as file:
        for chunk in _chunks(file, size):
            hasher.update(chunk)
            if file.tell() % SLICE_BYTES == 0:
                yield
    return hasher


def copied(folder: Path, name: str, target: Path, bounds: Bounds) -> Generator[None, None, Copy | None]:
    """A copy of a file below a folder.

    None if there is none, if it is over the bounds or too large to be copied, or while it is written.
    """
    parts = tuple(name.split("/"))
    if not bounds.allow_name(parts):
        return None
    try:
        with _open_below(folder, parts) as source, target.open("wb") as kept:
            before, hasher = os.fstat(source.fileno()), Hasher()
            if before.st_size > min(bounds.bytes, MAX_COPIED_BYTES) or _has_gaps(before):
                return None
            for chunk in _chunks(source, before.st_size):
                hasher.update(chunk)
                kept.write(chunk)
                if source.tell() % SLICE_BYTES == 0:
                    yield
            after = os.fstat(source.fileno())
    except OSError:
        return None
    is_whole = stamp_of(before) == stamp_of(after) and target.stat().st_size == after.st_size
    return Copy(target, stamp_of(after), hasher) if is_whole else None


def _chunks(file: BinaryIO, size: int) -> Iterator[bytes]:
    while size > 0 and (chunk := file.read(min(CHUNK_BYTES, size))):
        size -= len(chunk)
        yield chunk


def _open_below(folder: Path, parts: tuple[str, ...]) -> BinaryIO:
    """Opens a regular file below a folder, without following links. Raises FileNotFoundError."""
    with beneath.opened(folder.parent, [folder.name]) as here:
        return open(beneath.open_file(here, parts), "rb")


def _text(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _has_gaps(status: os.stat_result) -> bool:
    """True for a large file that has fewer bytes than its size: its copy would have all of them."""
    return status.st_size > SLICE_BYTES and status.st_blocks * 512 < status.st_size


def stamp_of(status: os.stat_result) -> Stamp:
    """A value that changes when a file is written again."""
    return status.st_size, status.st_mtime_ns


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.3g} GiB"
