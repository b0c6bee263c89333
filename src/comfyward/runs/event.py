"""Events of a run: a closed union of payloads, in the form in which they are stored, sent to servers and to clients.

Stored events (`STORED`) are rows, numbered per run, and replayed to a client that reconnects. Live events are only
passed on: a client that was away gets the newest of each kind when it comes back.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from comfyward.runs.failure import Failure
from comfyward.runs.output import Output
from comfyward.runs.run import FINAL_STATES, EndReason, PublicStatus, State


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


class Status(msgspec.Struct, frozen=True, omit_defaults=True):
    """A new state. `device` is given while a worker has the run, `failure` if it ended without success."""

    status: PublicStatus
    state: State
    end_reason: EndReason | None
    attempt: int | None = None
    device: str | None = None
    failure: Failure | None = None


class Download(msgspec.Struct, frozen=True):
    """Bytes of one file so far. `total` is None while the length is unknown."""

    path: str
    done: int
    total: int | None


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """Progress of a node: `value` of `maximum` steps. `done` is the part of the whole graph, 0 to 1; it never falls.

    A node that was made at run time is shown as `display_node`, was made by `parent_node`, and is a part of
    `real_node`, a node of the graph.
    """

    node: str
    value: float
    maximum: float = msgspec.field(name="max")
    nodes_done: int
    nodes_total: int
    done: float
    finished: bool = False
    display_node: str | None = None
    parent_node: str | None = None
    real_node: str | None = None


class Preview(msgspec.Struct, frozen=True):
    """A picture of work in progress, as a data: URL."""

    node: str | None
    image: str


class Cached(msgspec.Struct, frozen=True):
    """Nodes that keep their results from an earlier run."""

    nodes: list[str]


class NodeResult(msgspec.Struct, frozen=True):
    """The results of one node, as ComfyUI's history has them; their files can be fetched."""

    node: str
    display_node: str
    shown: Any


class Cancelling(msgspec.Struct, frozen=True):
    """A worker is asked to stop the run."""


class Staged(msgspec.Struct, frozen=True):
    """The files of the run are at its worker."""


Payload = Status | Output | Download | Progress | Preview | Cached | NodeResult | Cancelling | Staged

_PAYLOADS: dict[EventType, type[Payload]] = {
    EventType.STATUS: Status,
    EventType.OUTPUT: Output,
    EventType.DOWNLOAD: Download,
    EventType.PROGRESS: Progress,
    EventType.PREVIEW: Preview,
    EventType.CACHED: Cached,
    EventType.SHOWN: NodeResult,
    EventType.CANCELLING: Cancelling,
    EventType.STAGED: Staged,
}
_TYPES = {payload: kind for kind, payload in _PAYLOADS.items()}


@dataclass(frozen=True)
class Event:
    """One event of one run of an account. `seq` counts the run's stored events from 1; live events have none."""

    run_id: str
    account_id: str
    payload: Payload
    seq: int | None = None

    @property
    def type(self) -> EventType:
        return _TYPES[type(self.payload)]

    @property
    def is_last(self) -> bool:
        """True if the run is over."""
        return isinstance(self.payload, Status) and self.payload.state in FINAL_STATES


def read_payload(kind: str, text: str) -> Payload:
    """The payload of an event of a type, from its JSON."""
    return msgspec.json.decode(text, type=_PAYLOADS[EventType(kind)])


def convert_payload(kind: EventType, data: dict[str, Any]) -> Payload:
    """The payload of an event of a type, from its JSON when that is decoded."""
    return msgspec.convert(data, type=_PAYLOADS[kind])


def picture_of(image: str) -> tuple[str, str]:
    """(content type, base64) of the data: URL that a preview carries."""
    content_type, _, encoded = image.removeprefix("data:").partition(";base64,")
    return content_type, encoded
