"""Live events of runs inside one server process: published once, passed on to every listener."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import msgspec

from comfyward.delivery.followers import Followers
from comfyward.runs.event import STORED, Download, Event, EventType, NodeResult, Status
from comfyward.store.notices import Notices, Subscribed

MAX_BEHIND = 256
MAX_HELD_BYTES = 4 << 20
EVENT_BYTES = 512  # what an event costs beside its payload
MAX_REMEMBERED_RUNS = 20_000

ANY_NUMBER = Followers(0)

ReadMissed = Callable[[Mapping[str, int]], Awaitable[Sequence[Event]]]
"""Reads the stored events of runs, by id, that came after the ones of these numbers."""


class Listener:
    """One subscriber's queue, of MAX_HELD_BYTES at most, whether or not the subscriber reads.

    Progress is dropped when it falls behind. If there is no room for an event that must not be missed, the subscription
    ends: whoever follows again reads it from the rows.
    """

    def __init__(self) -> None:
        # Not an asyncio.Queue, which takes 3 KB more: a server has thousands of listeners.
        self._events: deque[tuple[Event, int] | None] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._has_ended = False
        self.held_bytes = 0

    def offer(self, event: Event, size: int) -> None:
        if self._has_ended:
            return
        has_room = not self.held_bytes or self.held_bytes + size <= MAX_HELD_BYTES
        if has_room and not (_may_be_missed(event) and len(self._events) >= MAX_BEHIND):
            self.held_bytes += size
            self._put((event, size))
        elif not has_room and not _may_be_missed(event):
            self.end()

    def close(self) -> None:
        self._put(None)

    def end(self) -> None:
        """Ends the subscription at once, and drops the events that wait."""
        self._has_ended = True
        self._events.clear()
        self.held_bytes = 0
        self.close()

    async def next(self, timeout_s: float) -> Event | None:
        """The next event; None when the hub closes. Raises TimeoutError when nothing came for `timeout_s`.

        For one reader at a time.
        """
        async with asyncio.timeout(timeout_s):
            while not self._events:
                self._reader = asyncio.get_running_loop().create_future()
                await self._reader
        return self._taken(self._events.popleft())

    async def all(self, timeout_s: float) -> list[Event]:
        """All events that wait, at least one; none when the hub closes. Raises TimeoutError as `next` does."""
        found = [await self.next(timeout_s)]
        while found[-1] is not None and self._events:
            found.append(self._taken(self._events.popleft()))
        events = [event for event in found if event is not None]
        if events and found[-1] is None:
            self.close()  # again, for the next call
        return events

    def _put(self, held: tuple[Event, int] | None) -> None:
        self._events.append(held)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _taken(self, held: tuple[Event, int] | None) -> Event | None:
        if held is None:
            return None
        event, size = held
        self.held_bytes -= size
        return event


class Hub:
    """Passes events on by run and by account; keeps the newest live event of each kind for listeners that come late.

    A run's stored events are passed on in their order and once each, also when several servers send them: before one
    that comes too early, those that are missing are read from the rows. The other servers are told of each run and
    account that somebody begins to listen to.
    """

    def __init__(
        self, notices: Notices, read_missed: ReadMissed | None = None, followers: Followers = ANY_NUMBER
    ) -> None:
        """`read_missed` is None where events come from this server alone, and so never too early."""
        self._notices, self._read_missed = notices, read_missed
        self.followers = followers
        self._listeners: dict[str, set[Listener]] = {}
        self._newest: dict[str, dict[tuple[EventType, str], Event]] = {}
        self._last: OrderedDict[str, int] = OrderedDict()
        self._over: set[str] = set()
        self._reading: set[asyncio.Task[None]] = set()

    def publish(self, events: Sequence[Event]) -> None:
        for event in events:
            if not self._is_next(event):
                continue
            self._remember(event)
            keys = (event.run_id, event.account_id)
            if listeners := [each for key in keys for each in self._listeners.get(key, ())]:
                size = EVENT_BYTES + len(msgspec.json.encode(event.payload))
                for listener in listeners:
                    listener.offer(event, size)

    def newest(self, run_id: str) -> list[Event]:
        """The last known progress, preview and downloads of a run."""
        return list(self._newest.get(run_id, {}).values())

    @property
    def keys(self) -> list[str]:
        """The runs and accounts that somebody listens to."""
        return list(self._listeners)

    def behind(self, newest: Mapping[str, int]) -> dict[str, int]:
        """The runs with events that were not passed on, each with the number of the last one that was.

        `newest` has the number of each run's newest event in the rows.
        """
        return {run_id: last for run_id, seq in newest.items() if (last := self._last.get(run_id, 0)) < seq}

    def start_after(self, run_id: str, seq: int) -> None:
        """The last stored event of a run that has had none here yet: the next one passed on comes after it."""
        self._last.setdefault(run_id, seq)

    @contextmanager
    def listen(self, key: str) -> Iterator[Listener]:
        """Listens to one run, or to all runs of an account, by its id."""
        listener = Listener()
        if key not in self._listeners:
            self._listeners[key] = set()
            self._notices.send(Subscribed([key]))
        self._listeners[key].add(listener)
        try:
            yield listener
        finally:
            listeners = self._listeners[key]
            listeners.discard(listener)
            if not listeners:
                del self._listeners[key]

    def close(self) -> None:
        """Ends every stream: the server is about to stop."""
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.close()

    def _is_next(self, event: Event) -> bool:
        if event.seq is None:
            return event.run_id not in self._over
        last = self._last.get(event.run_id)
        if last is not None and event.seq <= last:
            return False
        if last is not None and event.seq > last + 1 and self._read_missed is not None:
            self._fill_gap(self._read_missed({event.run_id: last}))
            return False
        self._last[event.run_id] = event.seq
        if event.is_last:
            self._over.add(event.run_id)
        if len(self._last) > MAX_REMEMBERED_RUNS:
            self._over.discard(self._last.popitem(last=False)[0])
        return True

    def _fill_gap(self, missed: Awaitable[Sequence[Event]]) -> None:
        async def fill() -> None:
            self.publish(await missed)

        task = asyncio.create_task(fill(), name="hub-gap")
        self._reading.add(task)
        task.add_done_callback(self._reading.discard)

    def _remember(self, event: Event) -> None:
        if event.type in STORED:
            # A new state makes old progress meaningless, and a run that is over needs none.
            if isinstance(event.payload, Status):
                self._newest.pop(event.run_id, None)
            return
        if isinstance(event.payload, NodeResult):
            return  # a late listener gets it with the outputs at the end
        key = (event.type, event.payload.path if isinstance(event.payload, Download) else "")
        self._newest.setdefault(event.run_id, {})[key] = event


def _may_be_missed(event: Event) -> bool:
    """True for progress, which the next event supersedes; what a node shows comes once."""
    return event.type not in STORED and not isinstance(event.payload, NodeResult)
