"""Changes that committed transactions made to runs: a closed union, with a member for each transition.

`events` are sent to followers. `run` is the run after the change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from comfyward.runs.event import Event
from comfyward.runs.run import Run


@dataclass(frozen=True)
class RunQueued:
    """A new run is in its pool's queue."""

    pool: str
    events: Sequence[Event]


@dataclass(frozen=True)
class RunAssigned:
    """queued → assigned."""

    run: Run
    events: Sequence[Event]


@dataclass(frozen=True)
class RunStarted:
    """assigned → running."""

    run: Run
    events: Sequence[Event]


@dataclass(frozen=True)
class RunProduced:
    """A run has outputs, and goes on."""

    run: Run
    events: Sequence[Event]


@dataclass(frozen=True)
class RunRequeued:
    """assigned | running → queued: for another attempt, or because its worker had not started it."""

    run: Run
    events: Sequence[Event]


@dataclass(frozen=True)
class RunEnded:
    """queued | assigned | running → succeeded | failed | cancelled."""

    run: Run
    events: Sequence[Event]


@dataclass(frozen=True)
class RunMoved:
    """A queued run moved to this pool."""

    pool: str
    events: Sequence[Event] = ()


@dataclass(frozen=True)
class RunCancelling:
    """A cancel is on its way to the run's worker."""

    run: Run
    events: Sequence[Event]


@dataclass(frozen=True)
class RunWatched:
    """For followers only: progress, previews, downloads."""

    events: Sequence[Event]


Change = (
    RunQueued | RunAssigned | RunStarted | RunProduced | RunRequeued | RunEnded | RunMoved | RunCancelling | RunWatched
)

Subscriber = Callable[[Sequence[Change]], None]
"""Told of changes in their order, on the event loop's thread. It returns at once."""
