"""What ComfyUI says on its websocket, as a closed union. Unknown messages are passed over.

(Source: ComfyUI's server.py, execution.py, protocol.py and comfy_execution/progress.py; binary events 1 and 4. What our
extension adds is under `comfyward`, see extension/messages.py.)
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from comfyward.python_json import NOT_JSON, read_answer

PREVIEW, PREVIEW_WITH_METADATA = 1, 4
_IMAGE_TYPES = {1: "image/jpeg", 2: "image/png"}


@dataclass(frozen=True)
class Cached:
    """These nodes keep their results from an earlier prompt."""

    prompt_id: str
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Executing:
    """A node starts. `files` are those below output/ at that moment, by name with (size, time); None when untold."""

    prompt_id: str
    node: str
    display: str
    is_output: bool = False
    files: Mapping[str, tuple[int, int]] | None = None


@dataclass(frozen=True)
class NodeState:
    """How far a node is. One that was made at run time is shown as `display`, and is a part of `real`, a node of the
    graph."""

    node: str
    state: str  # running, finished or error
    value: float
    maximum: float
    display: str
    parent: str | None
    real: str


@dataclass(frozen=True)
class NodeStates:
    """How far all nodes are that have begun."""

    prompt_id: str
    nodes: tuple[NodeState, ...]


@dataclass(frozen=True)
class Progress:
    """Steps inside a node."""

    prompt_id: str
    node: str
    value: float
    maximum: float


@dataclass(frozen=True)
class Executed:
    """A node has finished, with what it shows."""

    prompt_id: str
    node: str
    display: str
    output: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed:
    """A node failed, with what ComfyUI says of it. The history may not know."""

    prompt_id: str
    error: Mapping[str, Any]


@dataclass(frozen=True)
class Preview:
    """A picture. Only the newer form says which prompt and node it belongs to."""

    prompt_id: str | None
    node: str | None
    content_type: str
    data: bytes


@dataclass(frozen=True)
class Finished:
    """The prompt is over and its history is written: read it to know how it went."""

    prompt_id: str


Message = Cached | Executing | NodeStates | Progress | Executed | Failed | Preview | Finished


def parse_text(text: str | bytes) -> Message | None:
    """A text message, None for one that is of no interest."""
    try:
        envelope = read_answer(text)
        return _parse(envelope["type"], envelope["data"])
    except (*NOT_JSON, KeyError, TypeError, AttributeError):
        return None


def _parse(kind: str, data: dict[str, Any]) -> Message | None:
    match kind:
        case "execution_cached":
            return Cached(data["prompt_id"], tuple(map(str, data["nodes"])))
        case "executing" if data["node"] is None:
            return Finished(data["prompt_id"])
        case "executing":
            return _executing(data, str(data["node"]))
        case "progress_state":
            return NodeStates(data["prompt_id"], tuple(_state(node, about) for node, about in data["nodes"].items()))
        case "progress":
            return Progress(data["prompt_id"], str(data["node"]), float(data["value"]), float(data["max"]))
        case "executed":
            node = str(data["node"])
            return Executed(data["prompt_id"], node, str(data.get("display_node") or node), data.get("output") or {})
        case "execution_error":
            return Failed(data["prompt_id"], data)
        case _:
            return None


def _executing(data: dict[str, Any], node: str) -> Executing:
    ours = data.get("comfyward") or {}
    files = ours.get("files")
    return Executing(
        data["prompt_id"],
        node,
        str(data.get("display_node") or node),
        bool(ours.get("is_output")),
        None if files is None else {str(name): (int(size), int(time)) for name, size, time in files},
    )


def _state(node: str, about: dict[str, Any]) -> NodeState:
    parent = about.get("parent_node_id")
    return NodeState(
        node,
        str(about["state"]),
        float(about["value"]),
        float(about["max"]),
        str(about.get("display_node_id") or node),
        None if parent is None else str(parent),
        str(about.get("real_node_id") or node),
    )


def parse_binary(data: bytes) -> Preview | None:
    """A preview in either binary form, None for anything else."""
    if len(data) < 8:
        return None
    event, second = struct.unpack_from(">II", data)
    if event == PREVIEW:
        return Preview(None, None, _IMAGE_TYPES.get(second, "image/jpeg"), data[8:])
    if event == PREVIEW_WITH_METADATA and len(data) >= 8 + second:
        try:
            about = read_answer(data[8 : 8 + second])
            return Preview(
                about.get("prompt_id"),
                about.get("node_id"),
                about.get("image_type", "image/jpeg"),
                data[8 + second :],
            )
        except (*NOT_JSON, AttributeError):
            return None
    return None
