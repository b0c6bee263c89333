"""Mirrors: a model is fetched from its origin once, and from the object store by all other hosts."""

from __future__ import annotations

from comfyward.dispatch.blobs import Blobs
from comfyward.files.objects import Blob
from comfyward.runs.files import Url, key_of, source_from_row
from comfyward.runs.run import Run
from comfyward.store import mirrors
from comfyward.store.db import Database, now_ms
from comfyward.store.mirrors import Mirror

ROOT = "/models/"
USE_RESOLUTION_MS = 3600 * 1000


class Mirrors:
    """Does nothing if `is_on` is False, where the cache of the only host is enough."""

    def __init__(self, db: Database, blobs: Blobs, is_on: bool) -> None:
        self._db, self._blobs, self.is_on = db, blobs, is_on

    async def of(self, run: Run) -> dict[str, Mirror | None]:
        """The mirrors of a run's models by path; None for a model that is not mirrored yet."""
        sources = _models(run) if self.is_on else {}
        if not sources:
            return {}
        keys, now = {path: key_of(source) for path, source in sources.items()}, now_ms()
        found = await self._db.read(mirrors.find, list(keys.values()))
        if outdated := [key for key, mirror in found.items() if mirror.used_at < now - USE_RESOLUTION_MS]:
            await self._db.write(mirrors.touch, outdated, now)
        return {path: _if_wanted(source, found.get(keys[path])) for path, source in sources.items()}

    async def register(self, key: str, blob: Blob) -> None:
        """Registers a blob that a worker has stored for a source. Raises InvalidRequest if it is not stored."""
        await self._blobs.register(blob)
        await self._db.write(mirrors.put, key, blob.digest, now_ms())


def _models(run: Run) -> dict[str, Url]:
    sources = {path: source_from_row(row) for path, row in run.files.items() if path.startswith(ROOT)}
    return {path: source for path, source in sources.items() if isinstance(source, Url)}


def _if_wanted(source: Url, mirror: Mirror | None) -> Mirror | None:
    """The mirror, unless the source asks for another digest."""
    is_wanted = mirror is not None and source.digest in (None, mirror.digest, mirror.sha256)
    return mirror if is_wanted else None
