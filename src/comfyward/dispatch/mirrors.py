"""Models go from their origin to the object store once, and from there to every host that needs them."""

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
    """`is_on` False keeps nothing and offers nothing: one host's own cache is enough."""

    def __init__(self, db: Database, blobs: Blobs, is_on: bool) -> None:
        self._db, self._blobs, self.is_on = db, blobs, is_on

    async def of(self, run: Run) -> dict[str, Mirror | None]:
        """What the store has of a run's models, by path; None for one that it should have and has not."""
        sources = _models(run) if self.is_on else {}
        if not sources:
            return {}
        keys, now = {path: key_of(source) for path, source in sources.items()}, now_ms()
        found = await self._db.read(mirrors.find, list(keys.values()))
        if outdated := [key for key, mirror in found.items() if mirror.used_at < now - USE_RESOLUTION_MS]:
            await self._db.write(mirrors.touch, outdated, now)
        return {path: _if_wanted(source, found.get(keys[path])) for path, source in sources.items()}

    async def register(self, key: str, blob: Blob) -> None:
        """A worker has stored what a source has. Raises InvalidRequest when it has not."""
        await self._blobs.register(blob)
        await self._db.write(mirrors.put, key, blob.digest, now_ms())


def _models(run: Run) -> dict[str, Url]:
    sources = {path: source_from_row(row) for path, row in run.files.items() if path.startswith(ROOT)}
    return {path: source for path, source in sources.items() if isinstance(source, Url)}


def _if_wanted(source: Url, mirror: Mirror | None) -> Mirror | None:
    """A mirror, where it is what the source asks for: if that names a digest, of this one."""
    is_wanted = mirror is not None and source.digest in (None, mirror.digest, mirror.sha256)
    return mirror if is_wanted else None
