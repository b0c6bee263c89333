"""What happens to runs, told between the servers of one database.

They are told to servers where somebody follows the run or its account, which those say once and again. What was stored
shortly before that was heard is told then. A notice can be lost with the server that was to send it, so the rows of
runs that somebody follows are also looked at every few seconds.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

from comfyward.delivery.hub import Hub
from comfyward.loop import Loop
from comfyward.runs.change import Change
from comfyward.runs.event import Event
from comfyward.store import events as stored_events
from comfyward.store import runs
from comfyward.store.db import Database, now_ms
from comfyward.store.notices import Notice, RunEvents, ServerJoined, Subscribed

INTEREST_LASTS_S = 30.0
LATELY_S = 2.0  # longer than it takes until all have heard of a new follower
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
        self._lately = _Lately()
        db.notices.subscribe(self.on_notice, self.wake)

    def start(self) -> None:
        """Asks the other servers who follows what: this one does not know yet."""
        self._db.notices.send(ServerJoined())
        super().start()

    def on_changes(self, changes: Sequence[Change]) -> None:
        self.publish([event for change in changes for event in change.events])

    def publish(self, events: Sequence[Event]) -> None:
        """Events that were recorded by this server."""
        self._hub.publish(events)
        if not self._db.is_shared:
            return
        if wanted := [event for event in events if self._is_wanted(event)]:
            self._db.notices.send(RunEvents(wanted))
        self._lately.add([event for event in events if event.seq is not None])

    def on_notice(self, notice: Notice) -> None:
        match notice:
            case ServerJoined():
                self._say_what_is_followed()
            case RunEvents(events):
                self._hub.publish(events)
            case Subscribed(keys):
                until = time.monotonic() + INTEREST_LASTS_S
                fresh = {key for key in keys if key not in self._wanted}
                self._wanted.update(dict.fromkeys(keys, until))
                if known := self._known_of(fresh):
                    self._db.notices.send(RunEvents(known))

    async def tick(self) -> dict[str, int]:
        self._say_what_is_followed()
        now = time.monotonic()
        self._wanted = {key: until for key, until in self._wanted.items() if until > now}
        return {"found": await self._look(self._hub.keys)}

    def _say_what_is_followed(self) -> None:
        if keys := self._hub.keys:
            self._db.notices.send(Subscribed(keys))

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
        return [event for key in keys for event in (*self._lately.of(key), *self._hub.newest(key))]


class _Lately:
    """Stored events of the last moments, by run and by account."""

    def __init__(self) -> None:
        self._in_order: deque[tuple[float, Event]] = deque()
        self._by_key: dict[str, deque[Event]] = {}

    def add(self, events: Sequence[Event]) -> None:
        now = time.monotonic()
        for event in events:
            self._in_order.append((now, event))
            for key in (event.run_id, event.account_id):
                self._by_key.setdefault(key, deque()).append(event)
        while self._in_order and self._in_order[0][0] < now - LATELY_S:
            self._drop(self._in_order.popleft()[1])

    def of(self, key: str) -> Sequence[Event]:
        return self._by_key.get(key, ())

    def _drop(self, event: Event) -> None:
        for key in (event.run_id, event.account_id):
            self._by_key[key].popleft()
            if not self._by_key[key]:
                del self._by_key[key]
