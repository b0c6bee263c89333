"""Binds runs to the pool and the environment that they get, with the catalogs that they have to fit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from comfyward.dispatch.inventory import LATELY, Inventory
from comfyward.dispatch.revisions import Bound, Revisions
from comfyward.errors import InvalidEnvironment, UnknownAccelerator
from comfyward.runs.run import DEFAULT_ENVIRONMENT
from comfyward.workflows.catalog import Catalog


@dataclass(frozen=True)
class Place:
    """The accelerator that was asked for, the pool that stands for it, the environment, and the catalogs of that there.

    A run has to fit one of the catalogs; None fits any.
    """

    accelerator: str
    pool: str
    environment: Bound
    catalogs: Sequence[Catalog | None]


class Bindings:
    """Chooses from what the pools offer."""

    def __init__(self, inventory: Inventory, revisions: Revisions) -> None:
        self._inventory, self._revisions = inventory, revisions

    async def place(self, accelerator: str | None, environment: str) -> Place:
        """The place of a run. Raises UnknownAccelerator, InvalidEnvironment."""
        try:
            return await self._place(accelerator, environment)
        except (UnknownAccelerator, InvalidEnvironment):  # what has just come is not refused for being new
            return await self._place(accelerator, environment, time.monotonic())

    async def _place(self, accelerator: str | None, environment: str, since: float = LATELY) -> Place:
        pools, _ = await self._inventory.look(since=since)
        name, pool = self._inventory.resolve(accelerator, pools)
        bound, catalogs = await self.bind(environment, pool, since)
        return Place(name, pool, bound, catalogs)

    async def bind(self, environment: str, pool: str, since: float = LATELY) -> tuple[Bound, Sequence[Catalog | None]]:
        """The revision that a run of a pool gets, and its catalogs there, not older than `since` (s).

        Raises InvalidEnvironment if there is none, if no worker has ever had it ready, or if it has failed at all that
        could have it.
        """
        situation = await self._revisions.look_at(environment, since)
        able = situation.bound(environment, pool)
        left = [bound for bound in able if not situation.has_failed(bound.key, pool)]
        if not left:
            raise await self._revisions.failed(able[0], pool)
        for bound in left:
            _, catalogs = await self._inventory.look(bound.key, since)
            if bound.key == DEFAULT_ENVIRONMENT or catalogs.of(pool) is not None:
                return bound, catalogs.each_of(pool)
        number = able[0].revision
        raise InvalidEnvironment(
            f"No worker of pool {pool} has revision {number} of the environment '{environment.partition('@')[0]}' yet.",
            hint="Try again once a worker has built it: an admin sees how far they are.",
        )

    async def check(self, environment: str) -> None:
        """Raises InvalidEnvironment for an environment that no workflow can have."""
        try:
            (await self._revisions.look()).check(environment)
        except InvalidEnvironment:
            (await self._revisions.look(time.monotonic())).check(environment)

    async def catalog(self, environment: str) -> Catalog | None:
        """The catalog to show for an environment, read anew. Raises InvalidEnvironment."""
        now = time.monotonic()
        (await self._revisions.look(now)).check(environment)
        return await self.catalog_lately(environment, now)

    async def catalog_lately(self, environment: str = "", since: float = LATELY) -> Catalog | None:
        """The catalog to show for workflows of an environment, at most a second old, and not older than `since` (s).

        None before a worker has it, or while the environment has no current revision.
        """
        pools, _ = await self._inventory.look(since=since)
        situation = await self._revisions.look_at(environment, since)
        for pool in pools or ():
            try:
                keys = [bound.key for bound in situation.bound(environment, pool.name)]
            except InvalidEnvironment:
                continue
            for key in keys:
                if found := await self._inventory.catalog_lately(key, since):
                    return found
        is_default = environment in ("", DEFAULT_ENVIRONMENT)
        return await self._inventory.catalog_lately(since=since) if is_default else None
