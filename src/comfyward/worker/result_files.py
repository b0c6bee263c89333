"""Files that a run writes into ComfyUI's folders. A node may still be writing, so no link is followed."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from comfyward.comfy import beneath
from comfyward.files.digest import Hasher
from comfyward.worker.graph_progress import Stamp

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, order=True)
class ResultFile:
    """A regular file below a folder, by its relative path."""

    name: str
    path: Path
    stamp: Stamp


@dataclass(frozen=True)
class Copy:
    """A consistent copy of a file."""

    path: Path
    stamp: Stamp
    hasher: Hasher


def found_in(folder: Path) -> list[ResultFile]:
    """The regular files below a folder, by name. Leaves out links, which may point anywhere, and folders that cannot be
    opened or lie too deep."""
    found, folders = list[ResultFile](), [folder]
    while folders:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                path, status = Path(entry.path), entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    folders.append(path)
                elif stat.S_ISREG(status.st_mode):
                    name = path.relative_to(folder).as_posix().encode("utf-8", "backslashreplace").decode("utf-8")
                    found.append(ResultFile(name, path, _stamp(status)))
    return sorted(found)


def take(file: ResultFile, folder: Path, target: Path) -> bool:
    """Moves a file to a folder that nodes cannot write to. Returns False if it is no regular file any more."""
    try:
        with _folder_of(folder, file.path.relative_to(folder).as_posix()) as (here, last):
            os.rename(last, target, src_dir_fd=here)
    except FileNotFoundError:
        return False
    return stat.S_ISREG(target.lstat().st_mode)


def read(path: Path) -> bytes:
    with _open(path) as file:
        return file.read()


def hashed(path: Path) -> Hasher:
    hasher = Hasher()
    with _open(path) as file:
        while chunk := file.read(CHUNK_BYTES):
            hasher.update(chunk)
    return hasher


def copy(folder: Path, name: str, target: Path) -> Copy | None:
    """A copy of a file below a folder; None if there is none, or while it is being written."""
    try:
        with _open_below(folder, name) as source, target.open("wb") as kept:
            before, hasher = os.fstat(source.fileno()), Hasher()
            if not stat.S_ISREG(before.st_mode):
                return None
            while chunk := source.read(CHUNK_BYTES):
                hasher.update(chunk)
                kept.write(chunk)
            after = os.fstat(source.fileno())
    except FileNotFoundError:
        return None
    is_whole = _stamp(before) == _stamp(after) and target.stat().st_size == after.st_size
    return Copy(target, _stamp(after), hasher) if is_whole else None


def _open(path: Path) -> BinaryIO:
    return open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb")


def _open_below(folder: Path, name: str) -> BinaryIO:
    """Opens a file below a folder, without following links. Raises FileNotFoundError."""
    with _folder_of(folder, name) as (here, last):
        return open(os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=here), "rb")


@contextlib.contextmanager
def _folder_of(folder: Path, name: str) -> Iterator[tuple[int, str]]:
    """(open folder of a path below another, last part of the path). Raises FileNotFoundError."""
    *folders, last = name.split("/")
    try:
        with beneath.opened(folder, folders) as here:
            yield here, last
    except OSError as error:
        raise FileNotFoundError(name) from error


def _stamp(status: os.stat_result) -> Stamp:
    """A value that changes when a file is written again."""
    return status.st_size, status.st_mtime_ns
