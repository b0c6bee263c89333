"""Folders of files, each under the digest of its files: the sources of ComfyUI and of packs that this host has."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import blake3

from comfyward.comfy.bytecode import compile_folders
from comfyward.environments.staging import Staging, put_in_place
from comfyward.errors import InvalidEnvironment
from comfyward.sandbox.removal import remove_tree

NOT_CONTENT = frozenset({".git", "__pycache__"})
MAX_FILES = 200_000
CHUNK_BYTES = 1 << 20
NEW_S = 3600.0


class Trees:
    """The trees below one folder. A tree is complete if it is there."""

    def __init__(self, root: Path, staging: Staging) -> None:
        self._root, self._staging = root, staging

    @classmethod
    def below(cls, environments: Path) -> Trees:
        """Those of a host, whose environments are below this folder."""
        return cls(environments / "trees", Staging.below(environments))

    def path(self, digest: str) -> Path:
        return self._root / digest

    def all(self) -> Iterator[Path]:
        """Every tree."""
        return self._root.glob("*")

    def has(self, digest: str) -> bool:
        """True if the tree is there and its files have not been changed since; one that was changed is discarded."""
        if not self.path(digest).is_dir():
            return False
        with contextlib.suppress(InvalidEnvironment):  # what it has become may be no pack at all
            if digest_of(self.path(digest)) == digest:
                return True
        self._staging.discard(self.path(digest))
        return False

    def add(self, folder: Path) -> str:
        """Moves a folder here, cleaned and with bytecode, unless the same is here. Returns its digest."""
        clean(folder)
        digest = digest_of(folder)
        if not self.has(digest):
            compile_folders(Path(sys.executable), folder)
            self._root.mkdir(parents=True, exist_ok=True)
            put_in_place(folder, self.path(digest))
        os.utime(self.path(digest))
        return digest

    def remove_all_but(self, kept: frozenset[str]) -> int:
        """Removes the other trees, except new ones, which a lock in the making may be about to name.

        Returns the number of trees removed.
        """
        new = time.time() - NEW_S
        others = [path for path in self.all() if path.name not in kept and path.stat().st_mtime < new]
        for path in others:
            self._staging.discard(path)
        return len(others)


def digest_of(folder: Path) -> str:
    """blake3 over the sorted paths, kinds and contents, in hex. Raises InvalidEnvironment for what no pack contains."""
    hasher = blake3.blake3()
    for count, path in enumerate(_entries(folder)):
        if count > MAX_FILES:
            raise InvalidEnvironment(f"{folder.name} has more than {MAX_FILES} files.")
        name = path.relative_to(folder).as_posix()
        hasher.update(json.dumps([name, *_content(path, folder)]).encode() + b"\n")
    return str(hasher.hexdigest())


def clean(folder: Path) -> None:
    """Removes what is not content, and gives every file one of two modes."""
    for inner in [path for path in folder.rglob("*") if path.name in NOT_CONTENT]:
        remove_tree(inner)
    for path in folder.rglob("*"):
        if not path.is_symlink():
            is_executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
            path.chmod(0o755 if is_executable else 0o644)


def _entries(folder: Path) -> Iterator[Path]:
    """Files and links, sorted by path; empty folders are not content."""
    found: list[Path] = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in NOT_CONTENT]
        links = [name for name in folders if Path(parent, name).is_symlink()]
        found += [Path(parent, name) for name in (*files, *links) if name not in NOT_CONTENT]
    return iter(sorted(found, key=lambda path: path.relative_to(folder).as_posix().encode(errors="surrogateescape")))


def _content(path: Path, folder: Path) -> tuple[str, str]:
    """(kind, digest or target) of an entry."""
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        target = os.readlink(path)
        # Also by its words alone: a link by way of the folder's present name leads out once the folder is moved.
        place = os.path.normpath(path.relative_to(folder).parent / target)
        if place.split("/")[0] in ("", "..") or not path.resolve().is_relative_to(folder.resolve()):
            raise InvalidEnvironment(f"{path.name} in {folder.name} is a link that leads out of its folder.")
        return "link", target
    if not stat.S_ISREG(mode):
        raise InvalidEnvironment(f"{path.name} in {folder.name} is neither a file nor a folder.")
    hasher = blake3.blake3()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            hasher.update(chunk)
    return ("program" if mode & stat.S_IXUSR else "file"), str(hasher.hexdigest())
