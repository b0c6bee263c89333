"""Packs that were uploaded to one server, for every server: their archives are in the object store.

A server that needs a tree which its host does not have unpacks it from there, so servers need no common folder.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

from comfyward.dispatch.blobs import Blobs, pieces_of
from comfyward.environments.packed import Packed, PackedTrees, Reader
from comfyward.environments.source import Folder, checked_name
from comfyward.environments.spec import Spec
from comfyward.environments.workshop import Workshop
from comfyward.files.objects import Objects, blob_key
from comfyward.sandbox.temporary import TemporaryFolder
from comfyward.store import environment_trees
from comfyward.store.db import Database, now_ms

NAME = "tree.zip"


class SharedTrees:
    """`workshop` is that of this server's host."""

    def __init__(self, db: Database, blobs: Blobs, objects: Objects, workshop: Workshop) -> None:
        self._db, self._blobs, self._objects, self._workshop = db, blobs, objects, workshop
        self._packed = PackedTrees(workshop.trees)
        self._obtaining = asyncio.Lock()

    async def add_upload(self, filename: str, content: IO[bytes]) -> Folder:
        """A zip archive as the source of a pack, here and for other servers.

        Raises InvalidEnvironment, StorageFull, and OSError for a full disk.
        """
        name = checked_name(filename, "a pack")
        with TemporaryFolder() as folder:
            await asyncio.to_thread(_copied, content, folder / name)
            return await self._add(folder / name)

    async def _add(self, archive: Path) -> Folder:
        folder = await asyncio.to_thread(self._workshop.sources.add_folder, archive)
        size = archive.stat().st_size
        blob = await self._blobs.put_stream(pieces_of(archive), limit=size, name=NAME)
        await self._db.write(environment_trees.put, folder.tree, blob.digest, now_ms())
        return folder

    async def obtain(self, tree: str) -> None:
        """Unpacks a tree that this host does not have, if it was uploaded to another.

        Raises InvalidEnvironment or SetupFailed if its archive is broken, NotFound if that is gone.
        """
        async with self._obtaining:
            if await asyncio.to_thread(self._workshop.trees.path(tree).is_dir):
                return
            digest = await self._db.read(environment_trees.archive_of, tree)
            if digest is None:
                return
            with TemporaryFolder() as folder:
                await _written(await self._objects.read(blob_key(digest)), folder / NAME)
                await asyncio.to_thread(self._workshop.sources.receive, folder / NAME, tree)

    async def take(self, tree: str, reader: Reader) -> Packed | None:
        """An archive of a tree for a worker, to be left after use; None if no server has it. Raises Unavailable."""
        await self.obtain(tree)
        return await self._packed.take(tree, reader)

    def leave(self, packed: Packed, reader: Reader) -> None:
        """Gives back what was taken."""
        self._packed.leave(packed, reader)

    async def obtain_for(self, spec: Spec) -> None:
        """The same for all that a spec names."""
        for source in (spec.comfyui, *spec.packs):
            if isinstance(source, Folder):
                await self.obtain(source.tree)


def _copied(content: IO[bytes], path: Path) -> None:
    with path.open("wb") as file:
        shutil.copyfileobj(content, file)


async def _written(chunks: AsyncIterator[bytes], path: Path) -> None:
    with path.open("wb") as file:
        async for chunk in chunks:
            await asyncio.to_thread(file.write, chunk)
