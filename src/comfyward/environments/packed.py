"""Archives of trees for hosts that do not have them: packed once, kept for a while, and never more than a few."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from comfyward.environments import archive
from comfyward.environments.trees import Trees
from comfyward.errors import Unavailable
from comfyward.sandbox.temporary import TemporaryFolder

MOST, SHARE = 16, 4
KEPT_S = 600.0  # after the last reader: the workers of a pool build at about the same time
NAME = "tree.zip"


@dataclass(frozen=True)
class Reader:
    """A reader, by its token, and the number of archives that it may read at once: a slow one keeps others waiting."""

    name: str = ""
    share: int = MOST


ANYBODY = Reader()


@dataclass
class Packed:
    """An archive, and how often each reader reads it. It stays while somebody does."""

    digest: str
    folder: TemporaryFolder
    readers: Counter[str] = field(default_factory=Counter)
    left: int = 0  # how often its last reader has left

    @property
    def path(self) -> Path:
        return self.folder.path / NAME


class PackedTrees:
    """The archives of one server. `trees` are those of its host."""

    def __init__(self, trees: Trees, most: int = MOST, kept_s: float = KEPT_S) -> None:
        self._trees, self._most, self._kept_s = trees, most, kept_s
        self._packed: dict[str, Packed] = {}  # the last used last
        self._packing = asyncio.Lock()

    async def take(self, digest: str, reader: Reader = ANYBODY) -> Packed | None:
        """The archive of a tree, to be left after use; None if the tree is not here. Raises Unavailable."""
        self._check_share(digest, reader)
        if digest not in self._packed:
            async with self._packing:
                if digest not in self._packed and not await self._pack(digest):
                    return None
            self._check_share(digest, reader)
        packed = self._packed[digest] = self._packed.pop(digest)
        packed.readers[reader.name] += 1
        return packed

    def leave(self, packed: Packed, reader: Reader = ANYBODY) -> None:
        """Gives back what was taken. The archive is removed once nobody has wanted it for a while."""
        packed.readers[reader.name] -= 1
        packed.readers += Counter()  # without those that read it no more
        packed.left += 1
        asyncio.get_running_loop().call_later(self._kept_s, self._remove_if_unused, packed, packed.left)

    def close(self) -> None:
        """Removes all archives."""
        for packed in list(self._packed.values()):
            self._remove(packed)

    def _check_share(self, digest: str, reader: Reader) -> None:
        """Raises Unavailable if a reader reads as many other archives as it may."""
        others = sum(each.readers[reader.name] > 0 for each in self._packed.values() if each.digest != digest)
        if others >= reader.share:
            raise Unavailable("Workers of this token fetch as many packs as they may at once.", hint="Try again soon.")

    async def _pack(self, digest: str) -> bool:
        self._make_room()
        folder = await asyncio.to_thread(_archived, self._trees, digest)
        if folder is not None:
            self._packed[digest] = Packed(digest, folder)
        return folder is not None

    def _make_room(self) -> None:
        if len(self._packed) < self._most:
            return
        unused = next((packed for packed in self._packed.values() if not packed.readers), None)
        if unused is None:
            raise Unavailable("Other workers fetch as many packs as may be packed at once.", hint="Try again soon.")
        self._remove(unused)

    def _remove_if_unused(self, packed: Packed, left: int) -> None:
        if not packed.readers and packed.left == left:
            self._remove(packed)

    def _remove(self, packed: Packed) -> None:
        if self._packed.get(packed.digest) is packed:
            del self._packed[packed.digest]
        packed.folder.close()


def _archived(trees: Trees, digest: str) -> TemporaryFolder | None:
    """A folder with the archive of a tree; None if the tree is not here."""
    if not trees.has(digest):
        return None
    folder = TemporaryFolder()
    try:
        archive.pack(trees.path(digest), folder.path / NAME)
    except BaseException:
        folder.close()
        raise
    return folder
