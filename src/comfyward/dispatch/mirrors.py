"""Mirrors: a model is fetched from its origin once, and from the object store by all other hosts.

Only the worker that fetched a model knows what its origin sent. So the digest that the origin tells, or else the one
that the run names, is compared with the copy. A copy is used for runs of the pool that the worker's token is for, and
for others only if the run names the digest of the model.
"""

from __future__ import annotations

from collections.abc import Sequence

from comfyward.dispatch.named_secrets import NamedSecrets
from comfyward.dispatch.origins import Origins
from comfyward.errors import DigestMismatch, Forbidden
from comfyward.files.objects import Blob
from comfyward.paths import MODELS_ROOT
from comfyward.runs.files import Url, key_of, source_from_row
from comfyward.runs.run import Run
from comfyward.store import blobs, mirrors
from comfyward.store.db import Database, now_ms
from comfyward.store.mirrors import Mirror
from comfyward.store.tokens import WorkerToken

OTHER_DIGEST = "The origin of this model, or the run that names it, tells another digest."
USE_RESOLUTION_MS = 3600 * 1000


class Mirrors:
    """Does nothing if `is_on` is False, where the cache of the only host is enough."""

    def __init__(self, db: Database, origins: Origins, secrets: NamedSecrets, is_on: bool) -> None:
        self._db, self._origins, self._secrets, self.is_on = db, origins, secrets, is_on

    async def of(self, run: Run) -> dict[str, Mirror | None]:
        """The mirrors of a run's models by path; None for a model that is not mirrored yet."""
        sources = await self._models(run) if self.is_on else {}
        if not sources:
            return {}
        keys, now = {path: key_of(source) for path, source in sources.items()}, now_ms()
        found = await self._db.read(mirrors.find, list(keys.values()))
        usable = {
            path: _usable(source, run.pool, [mirror for mirror in found if mirror.key == keys[path]])
            for path, source in sources.items()
        }
        used = [each for each in usable.values() if each is not None]
        if outdated := {(each.key, each.pool) for each in used if each.used_at < now - USE_RESOLUTION_MS}:
            await self._db.write(mirrors.touch, outdated, now)
        return usable

    async def wanted(self, run: Run, key: str, blob: Blob) -> str | None:
        """The digest that a copy must have; None if neither the origin nor the run tells one.

        The origin is asked also where the run names a digest: runs that name none will use the copy too.

        Raises Forbidden unless the key stands for a model of the run, DigestMismatch if the worker itself says that its
        copy is another one, Unavailable while too many origins are asked.
        """
        source = next((source for source in (await self._models(run)).values() if key_of(source) == key), None)
        if source is None:
            raise Forbidden("The run of this lease does not name this model.")
        _check_digest(source.digest, blob.digest, blob.sha256, "The run asks for a model with another digest.")
        told = await self._origins.sha256_of(source, run.account_id)
        _check_digest(told, blob.digest, blob.sha256, OTHER_DIGEST)
        return told or source.digest

    async def _models(self, run: Run) -> dict[str, Url]:
        """The models of a run that are fetched from a URL, as they are fetched: with its account's secrets."""
        sources = {path: source_from_row(row) for path, row in run.files.items() if path.startswith(MODELS_ROOT)}
        fetched = {path: source for path, source in sources.items() if isinstance(source, Url)}
        return await self._secrets.sent(run.account_id, fetched)

    async def register(self, key: str, token: WorkerToken, blob: Blob, wanted: str | None) -> None:
        """Registers a stored blob as the copy of a source.

        Raises DigestMismatch if it is not what is `wanted`. Only what the server itself computed is compared here.
        """
        _check_digest(wanted, blob.digest, await self._db.lookup(blobs.sha256_of, blob.digest), OTHER_DIGEST)
        await self._db.write(mirrors.put, key, token.pool or "", blob.digest, now_ms())


def _check_digest(wanted: str | None, digest: str, sha256: str | None, message: str) -> None:
    """Raises DigestMismatch."""
    if wanted not in (None, digest, sha256):
        raise DigestMismatch(message)


def _usable(source: Url, pool: str, found: Sequence[Mirror]) -> Mirror | None:
    """The copy that a run of a pool may use; None if there is none."""
    if source.digest is not None:
        return next((each for each in found if source.digest in (each.digest, each.sha256)), None)
    return next((each for each in found if each.pool in (pool, "")), None)
