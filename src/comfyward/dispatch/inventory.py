"""The inventory: the pools that exist, and the catalog of each environment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection

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


@dataclass(frozen=True)
class Pool:
    """All workers of one accelerator and one environment, with the aliases of the accelerator.

    `stands_in_for` lists accelerators that do not exist here, whose runs it takes as the only pool.
    """

    name: str
    device: str | None
    workers: int
    aliases: tuple[str, ...]
    stands_in_for: tuple[str, ...] = ()


class Inventory:
    """Pools come from settings, fleets and workers; catalogs come from workers."""

    def __init__(
        self,
        db: Database,
        configured: list[str],
        aliases: Mapping[str, str],
        default: str | None,
        *,
        stand_in: bool | None = False,
    ) -> None:
        """`stand_in`: if the only pool takes the runs of others; None: only if there has never been another one."""
        self._db, self._configured, self._aliases, self._default = db, configured, dict(aliases), default
        self._stand_in = stand_in
        self._catalogs: dict[str, tuple[str, Catalog]] = {}
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()  # one caller reads for all that ask meanwhile
        self._pools: list[Pool] = []
        self._catalog: Catalog | None = None

    async def look(self) -> tuple[list[Pool], Catalog | None]:
        """The pools and the default environment's catalog, at most a second old: every submission asks."""
        async with self._reading:
            if time.monotonic() - self._read_at > REMEMBER_S:
                self._pools, self._catalog = await self.pools(), await self.catalog()
                self._read_at = time.monotonic()
        return self._pools, self._catalog

    async def catalog_lately(self) -> Catalog | None:
        """The default environment's catalog, at most a second old."""
        return (await self.look())[1]

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
            available = sorted(pools | {alias for alias, target in self._aliases.items() if target in pools})
            meant = f"{hint} " if (hint := did_you_mean(asked, available)) else ""
            raise UnknownAccelerator(
                f"No worker serves accelerator '{asked}', and none is configured.",
                hint=f"{meant}Available: {', '.join(available) or 'none'}.",
                available=available,
            )
        return asked, pool

    async def catalog(self, environment: str = DEFAULT_ENVIRONMENT) -> Catalog | None:
        """An environment's catalog; None before one of its workers has joined."""
        digest = await self._db.read(workers.catalog_digest, environment)
        if digest is None:
            return None
        cached = self._catalogs.get(environment)
        if cached is None or cached[0] != digest:
            body = await self._db.read(workers.catalog, environment)
            if body is None:
                return None
            cached = self._catalogs[environment] = (digest, Catalog.from_json(_decode(body)))
        return cached[1]


def _seen(conn: Connection, now: int) -> tuple[dict[str, str], dict[str, int], set[str]]:
    """(devices by pool, number of present workers by pool, pools in which fleets can start workers)."""
    present = workers.count_present(conn, now - workers.PRESENT_MS)
    of_fleets = {pool for fleet in fleets.find(conn, now - FLEET_REMEMBERED_MS) for pool in fleet.pools}
    of_fleets |= workers.local_pools(conn, now - FLEET_REMEMBERED_MS)
    return workers.known_pools(conn), present, of_fleets


def _decode(body: str) -> dict[str, Any]:
    return msgspec.json.decode(body, type=dict[str, Any])
