"""Notices: short messages between the servers of one database, received by all that listen at that moment.

A notice is a hint and never the only carrier of a fact. Facts are rows, and everything that waits for a row also polls.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from comfyward.runs.event import Event, EventType, convert_payload

log = logging.getLogger(__name__)


class Wake(msgspec.Struct, frozen=True, tag="wake"):
    """There is work for the loop with this name."""

    loop: str


class WorkerSignalled(msgspec.Struct, frozen=True, tag="worker"):
    """An order for a worker was written: the server that holds its heartbeat answers it."""

    worker_id: str


class WorkerJoined(msgspec.Struct, frozen=True, tag="joined"):
    """A worker has registered: cached data about its earlier incarnations is outdated."""

    worker_id: str


class LogWanted(msgspec.Struct, frozen=True, tag="log_wanted"):
    """The end of a worker's log is requested."""

    worker_id: str


class LogUploaded(msgspec.Struct, frozen=True, tag="log_came"):
    worker_id: str
    text: str


class SecretsKept(msgspec.Struct, frozen=True, tag="secrets"):
    """The secrets of a run, for whichever server assigns it. They are never stored in rows."""

    run_id: str
    secrets: dict[str, Any]


class SecretsWanted(msgspec.Struct, frozen=True, tag="secrets_wanted"):
    """A server assigned a run before its secrets came: whoever has them answers."""

    run_id: str


class SecretsFound(msgspec.Struct, frozen=True, tag="secrets_found"):
    """The answer, for who asked alone: others have these secrets, or have discarded them."""

    run_id: str
    secrets: dict[str, Any]


class SecretsGone(msgspec.Struct, frozen=True, tag="secrets_gone"):
    """A run has ended: its secrets are to be discarded."""

    run_id: str


class CallersChanged(msgspec.Struct, frozen=True, tag="callers"):
    """A key or session of an account, or itself, has changed or ended: what was known of its callers is outdated.

    Servers of earlier versions do not say whose.
    """

    account_id: str = ""


class SentEvent(msgspec.Struct, frozen=True):
    """An event of a run, with the JSON of its payload as `data`."""

    run_id: str
    account_id: str
    type: EventType
    data: dict[str, Any]
    seq: int | None = None

    @classmethod
    def of(cls, event: Event) -> SentEvent:
        return cls(event.run_id, event.account_id, event.type, msgspec.to_builtins(event.payload), event.seq)

    def read(self) -> Event:
        return Event(self.run_id, self.account_id, convert_payload(self.type, self.data), self.seq)


class RunEvents(msgspec.Struct, frozen=True, tag="events"):
    """Events of runs that another server follows."""

    events: list[SentEvent]

    @classmethod
    def of(cls, events: Sequence[Event]) -> RunEvents:
        return cls([SentEvent.of(event) for event in events])


class ServerJoined(msgspec.Struct, frozen=True, tag="server"):
    """A server has started: the others announce what they follow."""


class Subscribed(msgspec.Struct, frozen=True, tag="listening"):
    """The sender follows these runs and accounts, and needs their events."""

    keys: list[str]


Notice = (
    Wake
    | WorkerSignalled
    | WorkerJoined
    | LogWanted
    | LogUploaded
    | SecretsKept
    | SecretsWanted
    | SecretsFound
    | SecretsGone
    | CallersChanged
    | RunEvents
    | ServerJoined
    | Subscribed
)

OnNotice = Callable[[Notice], None]
"""Called on the event loop with each notice of another server, never with this server's own. It returns at once."""

OnLost = Callable[[], None]
"""Called on the event loop when notices may have been lost: read the rows."""


class Notices(ABC):
    """Sends notices to the other servers, and passes theirs to subscribers."""

    is_shared = True

    def __init__(self) -> None:
        self._subscribers: list[tuple[OnNotice, OnLost]] = []

    def subscribe(self, on_notice: OnNotice, on_lost: OnLost) -> None:
        """Subscribes to all notices. To be called before `listen`."""
        self._subscribers.append((on_notice, on_lost))

    def wake(self, name: str, hint: asyncio.Event) -> None:
        """Sets a loop's hint whenever another server sends `Wake(name)`, and when notices may have been lost."""

        def on_notice(notice: Notice) -> None:
            if notice == Wake(name):
                hint.set()

        self.subscribe(on_notice, hint.set)

    @abstractmethod
    def send(self, notice: Notice) -> None:
        """Sends a notice soon; returns at once. Called on the event loop's thread."""

    @abstractmethod
    async def flush(self) -> None:
        """Waits until all notices so far have been sent."""

    @abstractmethod
    async def listen(self) -> None:
        """Starts receiving; returns once it does."""

    @abstractmethod
    async def close(self) -> None:
        """Sends the pending notices, then stops."""

    def _deliver(self, notice: Notice) -> None:
        for on_notice, _ in self._subscribers:
            with _failures_logged():
                on_notice(notice)

    def _deliver_loss(self) -> None:
        for _, on_lost in self._subscribers:
            with _failures_logged():
                on_lost()


@contextlib.contextmanager
def _failures_logged() -> Iterator[None]:
    """A subscriber that fails keeps no other from hearing."""
    try:
        yield
    except Exception:
        log.exception("notices: a subscriber failed; going on", extra={"action": "notices_failed"})


class NoOthers(Notices):
    """The notices of a single server: none are sent or received."""

    is_shared = False

    def subscribe(self, on_notice: OnNotice, on_lost: OnLost) -> None:
        return

    def send(self, notice: Notice) -> None:
        return

    async def flush(self) -> None:
        return

    async def listen(self) -> None:
        return

    async def close(self) -> None:
        return
