"""Passes events of runs on between the servers of one database.

Events go to servers with a listener for the run or its account; a server announces its listeners when they begin and
every few seconds. Events that were stored shortly before an announcement arrived are sent in answer to it. A notice can
be lost with the server that was to send it, so the rows of runs with listeners are also read every few seconds.
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
RECENT_S = 2.0  # longer than the announcement of a listener takes to reach all servers
MAX_CHANGED = 500
LOOK_BACK_MS = 15_000


class Relay(Loop):
    """Sends the events published here to the other servers, and publishes theirs here."""

    name = "relay"
    interval_s = 5.0

    def __init__(self, db: Database, hub: Hub) -> None:
        super().__init__()
        self._db, self._hub = db, hub
        self._wanted: dict[str, float] = {}  # runs and accounts with listeners elsewhere, and when that expires
        self._recent = _RecentEvents()
        db.notices.subscribe(self.on_notice, self.wake)

    def start(self) -> None:
        """Asks the other servers for their listeners."""
        self._db.notices.send(ServerJoined())
        super().start()

    def on_changes(self, changes: Sequence[Change]) -> None:
        self.publish([event for change in changes for event in change.events])

    def publish(self, events: Sequence[Event]) -> None:
        """Publishes events that this server recorded."""
        self._hub.publish(events)
        if not self._db.is_shared:
            return
        if wanted := [event for event in events if self._is_wanted(event)]:
            self._db.notices.send(RunEvents.of(wanted))
        self._recent.add([event for event in events if event.seq is not None])

    def on_notice(self, notice: Notice) -> None:
        match notice:
            case ServerJoined():
                self._announce_listeners()
            case RunEvents(events):
                self._hub.publish([event.read() for event in events])
            case Subscribed(keys):
                until = time.monotonic() + INTEREST_LASTS_S
                fresh = {key for key in keys if key not in self._wanted}
                self._wanted.update(dict.fromkeys(keys, until))
                if known := self._recent_of(fresh):
                    self._db.notices.send(RunEvents.of(known))

    async def tick(self) -> dict[str, int]:
        self._announce_listeners()
        now = time.monotonic()
        self._wanted = {key: until for key, until in self._wanted.items() if until > now}
        return {"found": await self._read_missed(self._hub.keys)}

    def _announce_listeners(self) -> None:
        if keys := self._hub.keys:
            self._db.notices.send(Subscribed(keys))

    async def _read_missed(self, keys: list[str]) -> int:
        """Publishes events of runs with listeners that no notice brought; returns their number."""
        if not keys:
            return 0
        changed = await self._db.read(runs.changed_among, keys, now_ms() - LOOK_BACK_MS, MAX_CHANGED)
        behind = self._hub.behind(changed)
        missed = await self._db.read(stored_events.missed, behind) if behind else []
        self._hub.publish(missed)
        return len(missed)

    def _is_wanted(self, event: Event) -> bool:
        return event.run_id in self._wanted or event.account_id in self._wanted

    def _recent_of(self, keys: set[str]) -> list[Event]:
        """Recent events of runs and accounts that have just got a listener elsewhere."""
        return [event for key in keys for event in (*self._recent.of(key), *self._hub.newest(key))]


class _RecentEvents:
    """Stored events of the last seconds, by run and by account."""

    def __init__(self) -> None:
        self._in_order: deque[tuple[float, Event]] = deque()
        self._by_key: dict[str, deque[Event]] = {}

    def add(self, events: Sequence[Event]) -> None:
        now = time.monotonic()
        for event in events:
            self._in_order.append((now, event))
            for key in (event.run_id, event.account_id):
                self._by_key.setdefault(key, deque()).append(event)
        while self._in_order and self._in_order[0][0] < now - RECENT_S:
            self._drop(self._in_order.popleft()[1])

    def of(self, key: str) -> Sequence[Event]:
        return self._by_key.get(key, ())

    def _drop(self, event: Event) -> None:
        for key in (event.run_id, event.account_id):
            self._by_key[key].popleft()
            if not self._by_key[key]:
                del self._by_key[key]
