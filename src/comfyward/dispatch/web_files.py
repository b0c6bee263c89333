"""Web files of packs: taken from workers that tried an environment, and found for the editor of a workflow.

A worker's archive counts as its catalog does: for the pools of the workers that brought it, and for others only if it
came with a token for any pool. Of its files, an editor gets those of packs that the lock of its revision allows.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import blake3
from sqlalchemy import Connection

from comfyward.dispatch.blobs import Blobs
from comfyward.dispatch.inventory import Inventory
from comfyward.dispatch.revisions import Bound, Revisions
from comfyward.environments.web_files import EXTENSIONS, WebFile, is_script, unpacked
from comfyward.errors import Forbidden, InvalidEnvironment, InvalidRequest, UnknownAccelerator
from comfyward.files.objects import Objects, blob_key
from comfyward.runs.run import DEFAULT_ENVIRONMENT
from comfyward.store import environments, trials, web_files, workers
from comfyward.store.db import Database, now_ms
from comfyward.store.rows import text_of
from comfyward.store.tokens import WorkerToken
from comfyward.store.web_files import Archive, Listed
from comfyward.store.workers import Holder, WorkerRow

NAME = "web_files"  # of the blobs
NO_POOL = ""
KEPT_BYTES = 96 << 20  # of archives in memory
KEPT_LISTINGS = 16  # in memory


@dataclass(frozen=True)
class Served:
    """A file as browsers get it, also compressed."""

    pack: str
    media_type: str
    content: bytes
    packed: bytes
    digest: str


@dataclass(frozen=True)
class AllowedFiles:
    """The web files that a workflow's editor gets: of an archive with these files by path, those of allowed packs."""

    archive: str = ""
    listing: Mapping[str, Listed] = field(default_factory=dict)
    allowed: frozenset[str] = frozenset()

    @property
    def scripts(self) -> list[str]:
        """The paths of what the editor imports."""
        return [path for path in self.listing if is_script(path) and self.has(path)]

    @property
    def packs(self) -> list[str]:
        """The names below /extensions/ of what has scripts."""
        return sorted({path.removeprefix(EXTENSIONS).partition("/")[0] for path in self.scripts})

    def has(self, path: str) -> bool:
        return path in self.listing and self.listing[path].pack in self.allowed


NOTHING = AllowedFiles()


class WebFiles:
    """Archives that were used lately stay in memory."""

    def __init__(
        self, db: Database, blobs: Blobs, objects: Objects, revisions: Revisions, inventory: Inventory
    ) -> None:
        self._db, self._blobs, self._objects = db, blobs, objects
        self._revisions, self._inventory = revisions, inventory
        self._loaded: dict[str, Mapping[str, Served]] = {}  # by digest, the last used last
        self._loading = asyncio.Lock()
        self._listings: dict[str, Mapping[str, Listed]] = {}  # by digest, the last used last

    async def check_sender(self, token: WorkerToken, session: str, environment: str) -> None:
        """Raises Forbidden if no worker of the session was asked to try this environment."""
        await self._senders(token, session, environment)

    async def put(self, token: WorkerToken, session: str, environment: str, digest: str, archive: bytes) -> None:
        """Stores an archive. Raises Forbidden as `check_sender`, and InvalidRequest for what is not one."""
        senders = await self._senders(token, session, environment)
        if blake3.blake3(archive).hexdigest() != digest:
            raise InvalidRequest("The archive does not match the digest in the path.")
        files = await asyncio.to_thread(unpacked, archive)
        packs = await self._db.read(environments.packs_of, environment)
        if strangers := {file.pack for file in files} - packs:
            raise InvalidRequest(f"The environment has no pack '{min(strangers)[:100]}'.")
        await self._blobs.put_bytes(archive, NAME)
        listing, now = text_of([_entry(file) for file in files]), now_ms()
        pools = sorted({worker.pool for worker in senders})
        rows = [Archive(environment, pool, digest, token.is_shared, listing, now) for pool in pools]
        await self._db.write(_store, rows)

    async def of(self, environment: str, accelerator: str | None) -> AllowedFiles:
        """The web files for a workflow of an environment; none while no worker has tried it."""
        for bound, pool in await self._bounds(environment, accelerator):
            found = web_files.chosen(await self._db.read(web_files.heads, bound.key), pool)
            if found is not None:
                name = environment.partition("@")[0]
                allowed = await self._db.read(environments.allowed_packs, name, bound.revision, bound.key)
                return AllowedFiles(found.digest, await self._listing(found.digest), allowed)
        return NOTHING

    async def read(self, files: AllowedFiles, path: str) -> Served | None:
        """One of the files that an editor gets; None for any other path."""
        return (await self._files(files.archive))[path] if files.has(path) else None

    async def read_from(self, archive: str, allowed: frozenset[str], path: str) -> Served | None:
        """A file of an archive that an editor got before, if its pack is allowed. Raises NotFound if that is gone."""
        found = (await self._files(archive)).get(path)
        return found if found is not None and found.pack in allowed else None

    async def _senders(self, token: WorkerToken, session: str, environment: str) -> list[WorkerRow]:
        found = await self._db.read(_able, Holder(token.hash, session), environment)
        if not found:
            raise Forbidden("No worker with this secret was asked to try this environment.")
        return found

    async def _bounds(self, environment: str, accelerator: str | None) -> list[tuple[Bound, str]]:
        """The revisions, one for each target, that a workflow's environment stands for, with its pool."""
        if environment in ("", DEFAULT_ENVIRONMENT):
            return []
        pools, _ = await self._inventory.look()
        try:
            _, pool = self._inventory.resolve(accelerator, pools)
        except UnknownAccelerator:
            pool = accelerator or NO_POOL  # its workers may come back
        situation = await self._revisions.look_at(environment)
        for asked in (pool, NO_POOL):  # no worker of the pool may be able to have it
            with contextlib.suppress(InvalidEnvironment):
                return [(bound, asked) for bound in situation.bound(environment, asked)]
        return []

    async def _listing(self, digest: str) -> Mapping[str, Listed]:
        """The files of an archive by path. Each is read and decoded once, not for each script that a browser asks."""
        found = self._listings.pop(digest, None)
        if found is None:
            found = {file.path: file for file in await self._db.read(web_files.listing, digest)}
        self._listings[digest] = found
        while len(self._listings) > KEPT_LISTINGS:
            del self._listings[next(iter(self._listings))]
        return found

    async def _files(self, digest: str) -> Mapping[str, Served]:
        """The files of a stored archive, by path."""
        async with self._loading:
            found = self._loaded.pop(digest, None)
            if found is None:
                archive = await self._objects.read_all(blob_key(digest))
                found = await asyncio.to_thread(_served, archive)
            self._loaded[digest] = found
            while len(self._loaded) > 1 and sum(map(_size, self._loaded.values())) > KEPT_BYTES:
                del self._loaded[next(iter(self._loaded))]
        return found


def _able(conn: Connection, holder: Holder, environment: str) -> list[WorkerRow]:
    return [worker for worker in workers.of_session(conn, holder) if trials.is_locked(conn, environment, worker.target)]


def _store(conn: Connection, rows: Sequence[Archive]) -> None:
    for row in rows:
        web_files.put(conn, row)


def _entry(file: WebFile) -> tuple[str, str, int, str]:
    return file.pack, file.path, len(file.content), blake3.blake3(file.content).hexdigest(16)


def _served(archive: bytes) -> Mapping[str, Served]:
    return {file.path: _compressed(file) for file in unpacked(archive)}


def _compressed(file: WebFile) -> Served:
    packed, digest = gzip.compress(file.content, 6), blake3.blake3(file.content).hexdigest(16)
    return Served(file.pack, file.media_type, file.content, packed if len(packed) < len(file.content) else b"", digest)


def _size(files: Mapping[str, Served]) -> int:
    return sum(len(file.content) + len(file.packed) for file in files.values())
