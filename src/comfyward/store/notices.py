"""What servers on one database tell each other: short messages, quickly, heard by all who listen at that moment.

A notice is a hint, never the only carrier of a fact: what must not be lost is a row, and whoever waits for a row also
looks from time to time.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import msgspec

from comfyward.runs.event import Event

log = logging.getLogger(__name__)


class Wake(msgspec.Struct, frozen=True, tag="wake"):
    """There is work for a loop of this name."""

    loop: str


class WorkerSignalled(msgspec.Struct, frozen=True, tag="worker"):
    """There is an order for a worker in its rows: whoever holds its heartbeat answers it."""

    worker_id: str


class WorkerJoined(msgspec.Struct, frozen=True, tag="joined"):
    """A worker has said hello: what is remembered of an earlier life of it is outdated."""

    worker_id: str


class LogWanted(msgspec.Struct, frozen=True, tag="log_wanted"):
    """Somebody wants the end of a worker's log."""

    worker_id: str


class LogUploaded(msgspec.Struct, frozen=True, tag="log_came"):
    worker_id: str
    text: str


class SecretsKept(msgspec.Struct, frozen=True, tag="secrets"):
    """Keys that came with a run, for whichever server hands it out; never in a row."""

    run_id: str
    secrets: dict[str, Any]


class SecretsGone(msgspec.Struct, frozen=True, tag="secrets_gone"):
    """A run is over: the keys that came with it are to be forgotten."""

    run_id: str


class CallersChanged(msgspec.Struct, frozen=True, tag="callers"):
    """A key was revoked, or an account changed: what is remembered of callers is outdated."""


class RunEvents(msgspec.Struct, frozen=True, tag="events"):
    """Events of runs."""

    events: list[Event]


class ServerJoined(msgspec.Struct, frozen=True, tag="server"):
    """A server has started: it has to be told who follows what."""


class Subscribed(msgspec.Struct, frozen=True, tag="listening"):
    """Somebody here follows these runs and accounts: tell what happens to them."""

    keys: list[str]


Notice = (
    Wake
    | WorkerSignalled
    | WorkerJoined
    | LogWanted
    | LogUploaded
    | SecretsKept
    | SecretsGone
    | CallersChanged
    | RunEvents
    | ServerJoined
    | Subscribed
)

OnNotice = Callable[[Notice], None]
"""Called on the event loop with each notice of another server, never with this server's own. It returns at once."""

OnLost = Callable[[], None]
"""Called on the event loop when notices may have been lost: look at the rows."""


class Notices(ABC):
    """Sends notices to the other servers, and passes theirs on to subscribers."""

    is_shared = True

    def __init__(self) -> None:
        self._subscribers: list[tuple[OnNotice, OnLost]] = []

    def subscribe(self, on_notice: OnNotice, on_lost: OnLost) -> None:
        """Subscribes to all notices; call it before `listen`. A subscriber skips the kinds that it does not match."""
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
        """Returns when all notices so far have been sent."""

    @abstractmethod
    async def listen(self) -> None:
        """Begins to receive; returns once it does."""

    @abstractmethod
    async def close(self) -> None:
        """Sends what waits, then stops."""

    def _deliver(self, notice: Notice) -> None:
        for on_notice, _ in self._subscribers:
            try:
                on_notice(notice)
            except Exception:
                log.exception("notices: a subscriber failed; going on", extra={"action": "notices_failed"})

    def _deliver_loss(self) -> None:
        for _, on_lost in self._subscribers:
            on_lost()


class NoOthers(Notices):
    """The notices of a server that is alone: none are sent, none come."""

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
