"""The inventory: the pools that exist, and the catalog of each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from weakref import WeakValueDictionary

from sqlalchemy import Connection

from comfyward.dispatch.catalogs import Catalogs, CatalogsByPool
from comfyward.errors import UnknownAccelerator
from comfyward.runs.run import DEFAULT_ENVIRONMENT
from comfyward.store import fleets, workers
from comfyward.store.db import Database, now_ms
from comfyward.wording import did_you_mean
from comfyward.workflows.catalog import Catalog

# The accelerators of ComfyICU, which its clients ask for.
COMFYICU_NAMES = ("T4", "L4", "L40S", "A10", "A100", "A100_40GB", "A100_80GB", "H100")
FLEET_REMEMBERED_MS = 24 * 3600 * 1000  # restarting a fleet must not remove its pools
REMEMBER_S = 1.0
LATELY = float("-inf")  # whatever is remembered will do


@dataclass(frozen=True)
class Pool:
    """All workers of one accelerator, with its aliases.

    `stands_in_for` lists accelerators that do not exist here, whose runs it takes as the only pool.
    """

    name: str
    device: str | None
    workers: int
    aliases: tuple[str, ...]
    stands_in_for: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Looked:
    """Pools and the catalogs of an environment, and the time (s) at which reading them began."""

    at: float
    pools: list[Pool]
    by_pool: CatalogsByPool


class Inventory:
    """Pools come from settings, fleets and workers; catalogs come from workers."""

    def __init__(
        self,
        db: Database,
        catalogs: Catalogs,
        configured: list[str],
        aliases: Mapping[str, str],
        default: str | None,
        *,
        stand_in: bool | None = False,
    ) -> None:
        """`stand_in`: if the only pool takes the runs of others; None: only if there has never been another one."""
        self._db, self._configured, self._aliases, self._default = db, configured, dict(aliases), default
        self._catalogs, self._stand_in = catalogs, stand_in
        self._reading: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # by environment
        self._looked: dict[str, _Looked] = {}  # by environment

    async def look(
        self, environment: str = DEFAULT_ENVIRONMENT, since: float = LATELY
    ) -> tuple[list[Pool], CatalogsByPool]:
        """The pools and their catalogs of an environment, at most a second old: every submission asks.

        With `since` (s), they are not older than that.
        """
        found = self._remembered(environment, since) or await self._read(environment, since)
        return found.pools, found.by_pool

    def _remembered(self, environment: str, since: float) -> _Looked | None:
        """The last look at an environment; None if it is too old."""
        found = self._looked.get(environment)
        return None if found is None or found.at < max(since, time.monotonic() - REMEMBER_S) else found

    async def _read(self, environment: str, since: float) -> _Looked:
        """Reads for all that ask for an environment meanwhile."""
        reading = self._reading.get(environment) or asyncio.Lock()
        self._reading[environment] = reading
        async with reading:
            found = self._remembered(environment, since)
            if found is None:
                now = time.monotonic()
                found = _Looked(now, await self.pools(), await self._catalogs.in_use(environment))
                self._looked = {key: each for key, each in self._looked.items() if now - each.at <= REMEMBER_S}
                self._looked[environment] = found
        return found

    async def catalog_lately(self, environment: str = DEFAULT_ENVIRONMENT, since: float = LATELY) -> Catalog | None:
        """The catalog to show where no accelerator was chosen, as old as with `look`; None before a worker has joined.

        It is that of the pool that runs without an accelerator get.
        """
        pools, by_pool = await self.look(environment, since)
        return self._shown(pools, by_pool)

    async def catalogs_lately(self, environments: Iterable[str]) -> Mapping[str, Catalog | None]:
        """The same of several environments, by their keys."""
        return {key: await self.catalog_lately(key) for key in sorted({*environments})}

    async def pools(self) -> list[Pool]:
        """All pools that are served or configured, sorted by name."""
        known, present, of_fleets = await self._db.read(_seen, now_ms())
        names = sorted({*self._configured, *present, *of_fleets})
        stands_in = len(names) == 1 and (self._stand_in or (self._stand_in is None and set(known) <= set(names)))
        return [
            Pool(
                name,
                known.get(name),
                present.get(name, 0),
                tuple(sorted(alias for alias, target in self._aliases.items() if target == name)),
                tuple(each for each in COMFYICU_NAMES if self._aliases.get(each, each) != name) if stands_in else (),
            )
            for name in names
        ]

    def resolve(self, accelerator: str | None, offered: Sequence[Pool]) -> tuple[str, str]:
        """(requested name, pool that serves it). Raises UnknownAccelerator, listing the accelerators that exist."""
        pools = {pool.name for pool in offered}
        asked = accelerator or self._default or next(iter(sorted(pools)), None)
        if asked is None:
            raise UnknownAccelerator(
                "There is no accelerator yet: no worker has joined, and none is configured.",
                hint="Start a worker with 'comfyward worker --server URL --token TOKEN'.",
                available=[],
            )
        pool = self._aliases.get(asked, asked)
        if pool not in pools:
            pool = next((each.name for each in offered if asked in each.stands_in_for), pool)
        if pool not in pools:
            raise self._unserved(asked, pools)
        return asked, pool

    def _unserved(self, asked: str, pools: set[str]) -> UnknownAccelerator:
        available = sorted(pools | {alias for alias, target in self._aliases.items() if target in pools})
        meant = f"{hint} " if (hint := did_you_mean(asked, available)) else ""
        return UnknownAccelerator(
            f"No worker serves accelerator '{asked}', and none is configured.",
            hint=f"{meant}Available: {', '.join(available) or 'none'}.",
            available=available,
        )

    def _shown(self, pools: Sequence[Pool], by_pool: CatalogsByPool) -> Catalog | None:
        name = self._default or min((pool.name for pool in pools), default=None)
        return by_pool.shown(None if name is None else self._aliases.get(name, name))


def _seen(conn: Connection, now: int) -> tuple[dict[str, str], dict[str, int], set[str]]:
    """(devices by pool, number of present workers by pool, pools in which fleets can start workers)."""
    present = workers.count_present(conn, now - workers.PRESENT_MS)
    of_fleets = {pool for fleet in fleets.find(conn, now - FLEET_REMEMBERED_MS) for pool in fleet.pools}
    of_fleets |= workers.local_pools(conn, now - FLEET_REMEMBERED_MS)
    return workers.known_pools(conn), present, of_fleets
