"""Models go from their origin to the object store once, and from there to every host that needs them."""

from __future__ import annotations

from dataclasses import dataclass

from comfyward.dispatch.blobs import Blobs
from comfyward.files.objects import Blob
from comfyward.runs.files import Url, key_of, source_from_row
from comfyward.runs.run import Run
from comfyward.store import mirrors
from comfyward.store.db import Database, now_ms
from comfyward.store.mirrors import Mirror

ROOT = "/models/"


@dataclass(frozen=True)
class Mirrors:
    """`is_on` False keeps nothing and offers nothing: one host's own cache is enough."""

    db: Database
    blobs: Blobs
    is_on: bool

    async def of(self, run: Run) -> dict[str, Mirror]:
        """What the store has of a run's models, by path."""
        keys = {path: key_of(source) for path, source in _models(run).items()} if self.is_on else {}
        if not keys:
            return {}
        found = await self.db.read(mirrors.find, list(keys.values()))
        if found:
            await self.db.write(mirrors.touch, list(found), now_ms())
        return {path: found[key] for path, key in keys.items() if key in found and _is_wanted(run, path, found[key])}

    def wants(self, run: Run, path: str) -> bool:
        """Whether a file of a run is one that the store should have."""
        return self.is_on and path in _models(run)

    async def know(self, key: str, blob: Blob) -> None:
        """A worker has stored what a source has. Raises InvalidRequest when it has not."""
        await self.blobs.know_stored(blob)
        await self.db.write(mirrors.put, key, blob.digest, now_ms())


def _models(run: Run) -> dict[str, Url]:
    sources = {path: source_from_row(row) for path, row in run.files.items() if path.startswith(ROOT)}
    return {path: source for path, source in sources.items() if isinstance(source, Url)}


def _is_wanted(run: Run, path: str, mirror: Mirror) -> bool:
    """Whether a mirror is what the run asks for: where it names a digest, of this one."""
    digest = _models(run)[path].digest
    return digest is None or digest in (mirror.digest, mirror.sha256)
