"""Goes on with trials: repeats marked workflows, and makes revisions current where an admin has asked for that."""

from __future__ import annotations

import asyncio

from comfyward.dispatch import promotions
from comfyward.dispatch.rehearsals import Rehearsals
from comfyward.dispatch.revisions import Revisions
from comfyward.dispatch.trials import SELF_PROMOTIONS
from comfyward.environments.reference import Reference
from comfyward.loop import Loop
from comfyward.store import environments
from comfyward.store.db import Database, now_ms

SOON_S = 1.0  # interval while something is awaited


class SelfPromotions(Loop):
    """Looks whenever an environment has become ready on a worker, and every few seconds."""

    name = SELF_PROMOTIONS

    def __init__(self, db: Database, revisions: Revisions, rehearsals: Rehearsals, hint: asyncio.Event) -> None:
        super().__init__(hint, db.is_leader)
        db.notices.wake(self.name, hint)
        self._db, self._revisions, self._rehearsals = db, revisions, rehearsals

    async def tick(self) -> dict[str, int]:
        left = await self._rehearsals.advance()
        waiting = await self._db.read(environments.to_promote)
        self.interval_s = SOON_S if left or waiting else self.__class__.interval_s
        promoted = 0
        for name, number in waiting:
            promoted += await self._db.write(promotions.promote_if_clean, Reference(name, number), now_ms())
        if promoted:
            self._revisions.changed()
        return {"promoted": promoted, "rehearsals": left}
