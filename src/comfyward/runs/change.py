"""What a committed transaction did to a run: a closed union, with a member for each arrow between a run's states.

`events` is what its followers are told. A `run` is as the change left it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from comfyward.runs.event import Event
from comfyward.runs.run import Run


@dataclass(frozen=True)
class RunQueued:
    """A new run waits in its pool's queue."""

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
    """A run has left files, and goes on."""

    run: Run
    events: Sequence[Event]


@dataclass(frozen=True)
class RunRequeued:
    """assigned | running → queued: for another attempt, or because its worker had not begun it."""

    run: Run
    events: Sequence[Event]


@dataclass(frozen=True)
class RunEnded:
    """queued | assigned | running → succeeded | failed | cancelled."""

    run: Run
    events: Sequence[Event]


@dataclass(frozen=True)
class RunMoved:
    """A run that waits may go to workers of this pool now."""

    pool: str
    events: Sequence[Event] = ()


@dataclass(frozen=True)
class RunCancelling:
    """A cancel is on its way to the worker that has the run."""

    run: Run
    events: Sequence[Event]


@dataclass(frozen=True)
class RunWatched:
    """For followers alone: progress, previews, files that have come."""

    events: Sequence[Event]


Change = (
    RunQueued | RunAssigned | RunStarted | RunProduced | RunRequeued | RunEnded | RunMoved | RunCancelling | RunWatched
)

Subscriber = Callable[[Sequence[Change]], None]
"""Told of changes in their order, on the event loop's thread. It returns at once."""
