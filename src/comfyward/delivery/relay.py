"""What happens to runs, told between the servers of one database.

They are told to servers where somebody follows the run or its account, which those say once and again. What was stored
shortly before that was heard is told then. A notice can be lost with the server that was to send it, so the rows of
runs that somebody follows are also looked at every few seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence

from comfyward.delivery.hub import Hub
from comfyward.loop import Loop
from comfyward.runs.event import Event
from comfyward.store import events as stored_events
from comfyward.store import runs
from comfyward.store.db import Database, now_ms
from comfyward.store.notices import Happened, Listening

INTEREST_LASTS_S = 30.0
LATELY_S = 8.0  # longer than the pause in which servers say again what is followed
MAX_LATELY = 20_000
MAX_CHANGED = 500
LOOK_BACK_MS = 15_000


class Relay(Loop):
    """Tells others what is published here, and publishes here what they tell."""

    name = "relay"
    interval_s = 5.0

    def __init__(self, db: Database, hub: Hub) -> None:
        super().__init__()
        self._db, self._hub = db, hub
        self._wanted: dict[str, float] = {}  # runs and accounts followed elsewhere, until when
        self._lately: deque[tuple[float, Event]] = deque(maxlen=MAX_LATELY)  # stored ones
        self._filling: set[asyncio.Task[None]] = set()
        if db.is_shared:
            hub.on_listen, hub.on_gap = self._listening, self._gap

    def publish(self, events: Sequence[Event]) -> None:
        """Events that were recorded by this server."""
        self._hub.publish(events)
        if not self._db.is_shared:
            return
        if wanted := [event for event in events if self._is_wanted(event)]:
            self._db.notices.tell(Happened(wanted))
        now = time.monotonic()
        while self._lately and self._lately[0][0] < now - LATELY_S:
            self._lately.popleft()
        self._lately.extend((now, event) for event in events if event.seq is not None)

    def hear(self, notice: Happened | Listening) -> None:
        match notice:
            case Happened(events):
                self._hub.publish(events)
            case Listening(keys):
                until = time.monotonic() + INTEREST_LASTS_S
                fresh = {key for key in keys if key not in self._wanted}
                self._wanted.update(dict.fromkeys(keys, until))
                if known := self._known_of(fresh):
                    self._db.notices.tell(Happened(known))

    async def tick(self) -> dict[str, int]:
        if keys := self._hub.keys:
            self._db.notices.tell(Listening(keys))
        now = time.monotonic()
        self._wanted = {key: until for key, until in self._wanted.items() if until > now}
        return {"found": await self._look(keys)}

    async def _look(self, keys: list[str]) -> int:
        """Publishes what happened to followed runs and was not told here."""
        if not keys:
            return 0
        changed = await self._db.read(runs.changed_among, keys, now_ms() - LOOK_BACK_MS, MAX_CHANGED)
        behind = self._hub.behind(changed)
        missed = await self._db.read(stored_events.missed, behind) if behind else []
        self._hub.publish(missed)
        return len(missed)

    def _is_wanted(self, event: Event) -> bool:
        return event.run_id in self._wanted or event.account_id in self._wanted

    def _known_of(self, keys: set[str]) -> list[Event]:
        """What runs and accounts that somebody begins to follow elsewhere have had here lately."""
        stored = [event for _, event in self._lately if event.run_id in keys or event.account_id in keys]
        return [*stored, *(event for key in keys for event in self._hub.newest(key))]

    def _listening(self, key: str) -> None:
        self._db.notices.tell(Listening([key]))

    def _gap(self, run_id: str, last: int) -> None:
        task = asyncio.create_task(self._fill(run_id, last))
        self._filling.add(task)
        task.add_done_callback(self._filling.discard)

    async def _fill(self, run_id: str, last: int) -> None:
        self._hub.publish(await self._db.read(stored_events.missed, {run_id: last}))
