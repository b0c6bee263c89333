"""The messages of ComfyUI's websocket, as a closed union. Unknown messages are ignored.

Any node can make ComfyUI say anything, so a value is taken only if it has the expected form, and left out otherwise.

(Source: ComfyUI's server.py, execution.py, protocol.py and comfy_execution/progress.py; binary events 1 and 4. Our
extension adds the key `comfyward`, see extension/messages.py.)
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from comfyward.python_json import NOT_JSON, read_answer, refuse_many

PREVIEW, PREVIEW_WITH_METADATA = 1, 4
OURS = "comfyward"  # the key of what our extension adds
LARGEST = 1e300
MAX_FILES = 1000  # that are listed when a node starts; our extension lists none where there are more
_IMAGE_TYPES = {1: "image/jpeg", 2: "image/png"}
_SHOWN_TYPES = (*_IMAGE_TYPES.values(), "image/webp")
_STATES = ("pending", "running", "finished", "error")


@dataclass(frozen=True)
class Cached:
    """The results of these nodes are reused from an earlier prompt."""

    prompt_id: str
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Executing:
    """A node starts. `files` maps the files below output/ at that moment to (size, mtime in ns); None if not sent."""

    prompt_id: str
    node: str
    display: str
    is_output: bool = False
    files: Mapping[str, tuple[int, int]] | None = None


@dataclass(frozen=True)
class NodeState:
    """The progress of a node. One that was created at run time is displayed as `display`, and belongs to the graph's
    node `real`."""

    node: str
    state: str  # running, finished or error
    value: float
    maximum: float
    display: str
    parent: str | None
    real: str

    @property
    def names(self) -> set[str]:
        """The names of all nodes that it concerns."""
        return {self.node, self.display, self.real, *([] if self.parent is None else [self.parent])}


@dataclass(frozen=True)
class NodeStates:
    """The progress of all nodes that have started."""

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
    """A node has finished, with its result for the user interface, in a message of so many `characters`."""

    prompt_id: str
    node: str
    display: str
    output: Mapping[str, Any] = field(default_factory=dict)
    characters: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Failed:
    """A node failed, with ComfyUI's error, which may be missing in the history."""

    prompt_id: str
    error: Mapping[str, Any]


@dataclass(frozen=True)
class Preview:
    """A picture. `prompt_id` and `node` are None in the older of the two binary formats."""

    prompt_id: str | None
    node: str | None
    content_type: str
    data: bytes


@dataclass(frozen=True)
class Finished:
    """The prompt has ended and its history, which says how, is written; `history` is its entry, if it was sent."""

    prompt_id: str
    history: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Overlong:
    """A message that is longer than any of ComfyUI's own; the websocket is closed."""


Message = Cached | Executing | NodeStates | Progress | Executed | Failed | Preview | Finished | Overlong


def parse_text(text: str | bytes) -> Message | None:
    """The message in a text frame, None for any other kind."""
    try:
        refuse_many(text)
        envelope = read_answer(text)
        return _parse(envelope["type"], envelope["data"], len(text))
    except (*NOT_JSON, KeyError, TypeError, AttributeError):
        return None


def _parse(kind: str, data: dict[str, Any], characters: int) -> Message | None:
    match kind:
        case "execution_cached":
            return Cached(data["prompt_id"], tuple(map(str, data["nodes"])))
        case "executing" if data["node"] is None:
            return Finished(data["prompt_id"], (data.get(OURS) or {}).get("history"))
        case "executing":
            return _executing(data, str(data["node"]))
        case "progress_state":
            return NodeStates(data["prompt_id"], tuple(_state(node, state) for node, state in data["nodes"].items()))
        case "progress":
            return Progress(data["prompt_id"], str(data["node"]), _number(data["value"]), _number(data["max"]))
        case "executed":
            node = str(data["node"])
            output = data.get("output")
            shown = output if isinstance(output, dict) else {}
            return Executed(data["prompt_id"], node, str(data.get("display_node") or node), shown, characters)
        case "execution_error":
            return Failed(data["prompt_id"], dict(data))
        case _:
            return None


def _executing(data: dict[str, Any], node: str) -> Executing:
    extra = data.get(OURS) or {}
    files = extra.get("files")
    files = [] if files is not None and len(files) > MAX_FILES else files
    return Executing(
        data["prompt_id"],
        node,
        str(data.get("display_node") or node),
        bool(extra.get("is_output")),
        None if files is None else {str(name): (int(size), int(time)) for name, size, time in files},
    )


def _state(node: str, state: dict[str, Any]) -> NodeState:
    parent = state.get("parent_node_id")
    return NodeState(
        node,
        state["state"] if state["state"] in _STATES else "running",
        _number(state["value"]),
        _number(state["max"]),
        str(state.get("display_node_id") or node),
        None if parent is None else str(parent),
        str(state.get("real_node_id") or node),
    )


def _number(value: object) -> float:
    """The number; 0 for None, NaN, infinity and negative ones. Raises TypeError for anything else."""
    if value is not None and not isinstance(value, int | float):
        raise TypeError("not a number")
    return float(value) if value is not None and 0 <= value < LARGEST else 0.0


def parse_binary(data: bytes) -> Preview | None:
    """A preview in either binary format, None for anything else."""
    if len(data) < 8:
        return None
    event, second = struct.unpack_from(">II", data)
    if event == PREVIEW:
        return Preview(None, None, _IMAGE_TYPES.get(second, "image/jpeg"), data[8:])
    if event == PREVIEW_WITH_METADATA and len(data) >= 8 + second:
        try:
            metadata = read_answer(data[8 : 8 + second])
            node, kind = metadata.get("node_id"), metadata.get("image_type")
            return Preview(
                metadata.get("prompt_id"),
                node if isinstance(node, str) else None,
                kind if kind in _SHOWN_TYPES else "image/jpeg",
                data[8 + second :],
            )
        except (*NOT_JSON, AttributeError):
            return None
    return None
