"""What ComfyUI says on its websocket, as a closed union. Unknown messages are passed over.

(Source: ComfyUI's server.py, execution.py, protocol.py and comfy_execution/progress.py; binary events 1 and 4.)
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import msgspec

PREVIEW, PREVIEW_WITH_METADATA = 1, 4
_IMAGE_TYPES = {1: "image/jpeg", 2: "image/png"}


@dataclass(frozen=True)
class Cached:
    """These nodes keep their results from an earlier prompt."""

    prompt_id: str
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Executing:
    """A node starts."""

    prompt_id: str
    node: str


@dataclass(frozen=True)
class Progress:
    """Steps inside a node."""

    prompt_id: str
    node: str
    value: float
    maximum: float


@dataclass(frozen=True)
class Executed:
    """A node with results to show has finished."""

    prompt_id: str
    node: str


@dataclass(frozen=True)
class Preview:
    """A picture of work in progress. Only the newer form says which prompt it belongs to."""

    prompt_id: str | None
    node: str | None
    content_type: str
    data: bytes


@dataclass(frozen=True)
class Finished:
    """The prompt is over and its history is written: read it to know how it went."""

    prompt_id: str


Message = Cached | Executing | Progress | Executed | Preview | Finished


def parse_text(text: str | bytes) -> Message | None:
    """A text message, None for one that is of no interest."""
    try:
        envelope = msgspec.json.decode(text)
        kind, data = envelope["type"], envelope["data"]
        return _parse(kind, data)
    except (msgspec.DecodeError, KeyError, TypeError, ValueError):
        return None


def _parse(kind: str, data: dict[str, Any]) -> Message | None:
    match kind:
        case "execution_cached":
            return Cached(data["prompt_id"], tuple(map(str, data["nodes"])))
        case "executing" if data["node"] is None:
            return Finished(data["prompt_id"])
        case "executing":
            return Executing(data["prompt_id"], str(data["node"]))
        case "progress":
            return Progress(data["prompt_id"], str(data["node"]), float(data["value"]), float(data["max"]))
        case "executed":
            return Executed(data["prompt_id"], str(data["node"]))
        case _:
            return None


def parse_binary(data: bytes) -> Preview | None:
    """A preview in either binary form, None for anything else."""
    if len(data) < 8:
        return None
    event, second = struct.unpack_from(">II", data)
    if event == PREVIEW:
        return Preview(None, None, _IMAGE_TYPES.get(second, "image/jpeg"), data[8:])
    if event == PREVIEW_WITH_METADATA and len(data) >= 8 + second:
        try:
            about = msgspec.json.decode(data[8 : 8 + second])
        except msgspec.DecodeError:
            return None
        node = about.get("display_node_id") or about.get("node_id")
        return Preview(about.get("prompt_id"), node, about.get("image_type", "image/jpeg"), data[8 + second :])
    return None
