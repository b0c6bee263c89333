"""What happens to a run, as its caller sees it.

Stored events (`STORED`) are rows, numbered per run, and replayed to a client that reconnects. Live events are only
passed on: a client that was away sees the newest of each kind when it comes back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from comfyward.runs.run import FINAL_STATES


class EventType(StrEnum):
    STATUS = "status"
    OUTPUT = "output"
    DOWNLOAD = "download"
    PROGRESS = "progress"
    PREVIEW = "preview"
    CACHED = "cached"
    SHOWN = "shown"
    CANCELLING = "cancelling"
    STAGED = "staged"


STORED = frozenset({EventType.STATUS, EventType.OUTPUT})


@dataclass(frozen=True)
class Event:
    """One event of one run of an account. `seq` counts the run's stored events from 1; live events have none."""

    run_id: str
    account_id: str
    type: EventType
    data: dict[str, Any] = field(default_factory=dict)
    seq: int | None = None

    @property
    def is_last(self) -> bool:
        """Whether it tells that the run is over."""
        return self.type is EventType.STATUS and self.data.get("state") in FINAL_STATES


def part_done(event: Event) -> float:
    """How much of a run's graph is done, 0 to 1, as an event of progress tells it. It never falls."""
    return float(event.data["done"])


def picture_of(image: str) -> tuple[str, str]:
    """(content type, base64) of the data: URL that a preview carries."""
    content_type, _, encoded = image.removeprefix("data:").partition(";base64,")
    return content_type, encoded
