"""The catalogs in use by pool, of those that workers sent.

A pool uses what its workers sent with a token for any pool; else what they sent with a token for this pool; else the
newest of another pool that came with a token for any. So a token for one pool changes what is offered there, and
nowhere else. If there are several, those of present workers count: the one that most have is shown, and a graph is
refused only if it fits none of them, so that no single worker takes nodes away from a pool. If no worker is present,
the newest counts.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from weakref import WeakValueDictionary

import blake3
from sqlalchemy import Connection

from comfyward.errors import Forbidden, InvalidCatalog, InvalidRequest
from comfyward.runs.run import DEFAULT_ENVIRONMENT
from comfyward.store import catalogs, trials, workers
from comfyward.store.catalogs import KEPT_PER_POOL, CatalogRow
from comfyward.store.db import Database, now_ms
from comfyward.store.tokens import WorkerToken
from comfyward.store.workers import Announced, Holder, WorkerRow
from comfyward.workflows.catalog import Catalog
from comfyward.workflows.catalog_form import parse_catalog
from comfyward.workflows.offer import NOWHERE, Elsewhere

KEPT_ENVIRONMENTS = 64  # whose catalogs are kept parsed: each takes some megabytes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CatalogsByPool:
    """The catalog of each pool that has one, and that of all others.

    `others` are further ones that present workers of a pool have; None stands for those that nobody keeps.
    """

    of_pools: Mapping[str, Catalog]
    shared: Catalog | None = None
    others: Mapping[str, Sequence[Catalog | None]] = field(default_factory=dict)

    def of(self, pool: str) -> Catalog | None:
        """The catalog that holds for runs of a pool; None before one of its workers has joined."""
        return self.of_pools.get(pool, self.shared)

    def each_of(self, pool: str) -> tuple[Catalog | None, ...]:
        """The catalogs of which a run of a pool must fit one; None fits any."""
        return (self.of(pool), *self.others.get(pool, ()))

    def shown(self, pool: str | None) -> Catalog | None:
        """The catalog to show where no pool was chosen: that of the usual pool, else of any."""
        usual = self.shared if pool is None else self.of(pool)
        return usual or next((self.of_pools[name] for name in sorted(self.of_pools)), None)


def digests_in_use(
    rows: Sequence[CatalogRow], announced: Sequence[Announced] = ()
) -> tuple[dict[str, list[str]], str | None]:
    """(digests by pool, digest for all other pools) of rows that are sorted newest first, and of present workers'."""
    by_pool = {}
    for pool in {row.pool for row in rows if row.pool}:
        own = [row for row in rows if row.pool == pool]
        usable = [row.digest for row in own if row.is_shared] or [row.digest for row in own]
        in_use = [each.digest for each in announced if each.pool == pool and each.digest in usable]
        by_pool[pool] = in_use or usable[:1]
    return by_pool, next((row.digest for row in rows if row.is_shared), None)


def differs_from_most(worker: WorkerRow, announced: Sequence[Announced]) -> bool:
    """True if a worker has another catalog than most present workers of its pool, or, in a tie, than the first."""
    most = next((each.digest for each in announced if each.pool == worker.pool), worker.catalog_digest)
    return worker.catalog_digest not in ("", most)


def uncounted_pools(announced: Sequence[Announced]) -> set[str]:
    """The pools whose present workers have more different catalogs than are kept."""
    return {pool for pool, count in Counter(each.pool for each in announced).items() if count > KEPT_PER_POOL}


class Catalogs:
    """Takes catalogs from workers and keeps those in use parsed."""

    def __init__(self, db: Database, elsewhere: Elsewhere = NOWHERE) -> None:
        """`elsewhere` knows what has the classes that a catalog lacks."""
        self._db, self._elsewhere = db, elsewhere
        # By environment, the last used last, and by digest; None is for one that is not valid.
        self._parsed: dict[str, dict[str, Catalog | None]] = {}
        self._loading: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # by environment
        self._parsing = asyncio.Semaphore(1)  # each takes up to a second of a processor

    async def in_use(self, environment: str = DEFAULT_ENVIRONMENT) -> CatalogsByPool:
        """The catalogs of an environment, by its key."""
        loading = self._loading.get(environment) or asyncio.Lock()
        self._loading[environment] = loading
        async with loading:
            return await self._in_use(environment)

    async def _in_use(self, environment: str) -> CatalogsByPool:
        rows = await self._db.read(catalogs.find, environment)
        announced = await self._db.read(catalogs.announced, environment, now_ms() - workers.PRESENT_MS)
        by_pool, shared = digests_in_use(rows, announced)
        wanted = {digest for each in by_pool.values() for digest in each} | ({shared} if shared else set())
        parsed = await self._parsed_of(environment, wanted)
        uncounted = uncounted_pools(announced)
        first, others = {}, {}
        for pool, digests in by_pool.items():
            if valid := [catalog for digest in digests if (catalog := parsed[digest])]:
                first[pool] = valid[0]
                others[pool] = [*valid[1:], *((None,) if pool in uncounted else ())]
        return CatalogsByPool(first, parsed[shared] if shared else None, others)

    async def _parsed_of(self, environment: str, wanted: Collection[str]) -> Mapping[str, Catalog | None]:
        """The catalogs with these digests; those of environments that were not used for longest are dropped."""
        known = self._parsed.get(environment, {})
        found = {digest: known[digest] if digest in known else await self._load(digest) for digest in wanted}
        self._parsed.pop(environment, None)
        self._parsed[environment] = found
        while len(self._parsed) > KEPT_ENVIRONMENTS:
            del self._parsed[next(iter(self._parsed))]
        return found

    async def announced(self, worker: WorkerRow, token: WorkerToken) -> bool:
        """True if the catalog that a joining worker has is stored already; it is the newest from now on."""
        row = _row(worker.environment, worker.pool, worker.catalog_digest, token)
        is_known = await self._db.write(catalogs.touch, row)
        if is_known:
            await self._log_differences([worker])
        return is_known

    async def put(self, token: WorkerToken, session: str, environment: str, digest: str, body: bytes) -> None:
        """Stores a catalog for the pools of the workers that brought it.

        Raises InvalidRequest, Forbidden if no worker joined with this token and secret, InvalidCatalog.
        """
        if blake3.blake3(body).hexdigest() != digest:
            raise InvalidRequest("The catalog does not match the digest in the path.")
        known = await self._db.read(_able, Holder(token.hash, session), environment)
        senders = [worker for worker in known if worker.catalog_digest == digest] or known
        if not senders:
            raise Forbidden(f"No worker with environment '{environment}' has joined with the token '{token.name}'.")
        try:
            text = await self._checked(body)
        except InvalidCatalog as refused:
            await self._refuse(senders, refused)
            raise
        rows = [_row(environment, pool, digest, token) for pool in sorted({worker.pool for worker in senders})]
        await self._db.write(_store, rows, text, senders)
        if environment == senders[0].environment:
            await self._log_differences(senders)

    async def _log_differences(self, senders: Sequence[WorkerRow]) -> None:
        """Logs the workers among these that have another catalog than most present workers of their pool."""
        after = now_ms() - workers.PRESENT_MS
        announced = await self._db.read(catalogs.announced, senders[0].environment, after)
        for worker in senders:
            if differs_from_most(worker, announced):
                message = "worker %s offers other nodes than most workers of pool %s"
                log.warning(message, worker.id, worker.pool, extra={"action": "catalog_differs"})

    async def _checked(self, body: bytes) -> str:
        async with self._parsing:
            await asyncio.to_thread(parse_catalog, body)
        return body.decode()

    async def _refuse(self, senders: Sequence[WorkerRow], refused: InvalidCatalog) -> None:
        names = [worker.id for worker in senders]
        log.error(
            "the catalog of worker %s is refused: %s",
            ", ".join(names),
            refused.message,
            extra={"action": "catalog_refused"},
        )
        await self._db.write(workers.mark_catalog, names, refused.message)

    async def _load(self, digest: str) -> Catalog | None:
        """A stored catalog; None for one that a version before took and that is not valid."""
        text = await self._db.read(catalogs.body, digest)
        try:
            async with self._parsing:
                found = None if text is None else await asyncio.to_thread(parse_catalog, text)
                return None if found is None else replace(found, elsewhere=self._elsewhere)
        except InvalidCatalog as refused:
            log.error("a stored catalog is not used: %s", refused.message, extra={"action": "catalog_refused"})
            return None


def _row(environment: str, pool: str, digest: str, token: WorkerToken) -> CatalogRow:
    return CatalogRow(environment, pool, digest, token.is_shared, now_ms())


def _store(conn: Connection, rows: Sequence[CatalogRow], text: str, senders: Sequence[WorkerRow]) -> None:
    names = [worker.id for worker in senders]
    for row in rows:
        trials.set_catalog(conn, names, row.environment, row.digest)
        catalogs.put(conn, row, text)
    workers.mark_catalog(conn, names, None)


def _able(conn: Connection, holder: Holder, environment: str) -> list[WorkerRow]:
    """The workers of a session that may have an environment: the one of their start, or one that they could build."""
    return [
        worker
        for worker in workers.of_session(conn, holder)
        if worker.environment == environment or trials.is_locked(conn, environment, worker.target)
    ]
