"""Makes revisions current once their trials are good, where an admin has asked for that before."""

from __future__ import annotations

import asyncio

from comfyward.dispatch import promotions
from comfyward.dispatch.revisions import Revisions
from comfyward.dispatch.trials import SELF_PROMOTIONS
from comfyward.environments.reference import Reference
from comfyward.loop import Loop
from comfyward.store import environments
from comfyward.store.db import Database, now_ms


class SelfPromotions(Loop):
    """Looks whenever an environment has become ready on a worker, and every few seconds."""

    name = SELF_PROMOTIONS

    def __init__(self, db: Database, revisions: Revisions, hint: asyncio.Event) -> None:
        super().__init__(hint, db.is_leader)
        db.notices.wake(self.name, hint)
        self._db, self._revisions = db, revisions

    async def tick(self) -> dict[str, int]:
        promoted = 0
        for name, number in await self._db.read(environments.to_promote):
            promoted += await self._db.write(promotions.promote_if_clean, Reference(name, number), now_ms())
        if promoted:
            self._revisions.changed()
        return {"promoted": promoted}
