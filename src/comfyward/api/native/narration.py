"""What happens to a run, told in ComfyUI's websocket messages and in their order. Pure.

    execution_start · execution_cached · per node: progress_state · executing · progress*
    · executed* · execution_success | execution_error | execution_interrupted · (status) · executing of no node

`executed` comes for all nodes at the end, when their files can be fetched. (Source: ComfyUI's execution.py,
protocol.py and comfy_execution/progress.py.)
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from comfyward.api.native.shapes import ending_of, shown_of
from comfyward.runs.event import Event, EventType, picture_of
from comfyward.runs.run import Run, State
from comfyward.store.db import now_ms

PREVIEW, PREVIEW_WITH_METADATA = 1, 4
_FORMATS = {"image/jpeg": 1, "image/png": 2}


@dataclass(frozen=True)
class Text:
    """A JSON message."""

    type: str
    data: dict[str, Any]

    def encode(self) -> str:
        return msgspec.json.encode({"type": self.type, "data": self.data}, enc_hook=str).decode()


@dataclass(frozen=True)
class Picture:
    """A preview, in one of ComfyUI's two binary forms."""

    prompt_id: str
    node: str | None
    content_type: str
    data: bytes

    def encode(self, *, with_metadata: bool) -> bytes:
        if not with_metadata:
            return struct.pack(">II", PREVIEW, _FORMATS.get(self.content_type, 1)) + self.data
        about = msgspec.json.encode(
            {**_ids(self.node or ""), "prompt_id": self.prompt_id, "image_type": self.content_type}
        )
        return struct.pack(">II", PREVIEW_WITH_METADATA, len(about)) + about + self.data


Message = Text | Picture


@dataclass
class Narration:
    """One run's story so far."""

    prompt_id: str
    node: str | None = None
    began: bool = False
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)

    def tell(self, event: Event) -> Sequence[Message]:
        """The messages of an event that is not the last."""
        data = event.data
        match event.type:
            case EventType.STATUS if data["state"] == State.RUNNING:
                self.node, self.began, self.nodes = None, False, {}
                return [Text("execution_start", self._about())]
            case EventType.CACHED:
                return self._begin(data["nodes"])
            case EventType.PROGRESS:
                return [*self._begin([]), *self._progress(data["node"], data["value"], data["max"])]
            case EventType.PREVIEW:
                content_type, encoded = picture_of(data["image"])
                return [Picture(self.prompt_id, data["node"] or self.node, content_type, base64.b64decode(encoded))]
            case _:
                return []

    def end(self, run: Run) -> Sequence[Message]:
        """The messages of a final run, up to the one that says how it went."""
        messages: list[Message] = []
        if not self.began and run.started_at is not None:
            messages += self._begin([])
        if run.state is State.SUCCEEDED:
            self._finish_node()
            messages += [self._state()] if self.nodes else []
            messages += [
                Text("executed", {"node": node, "display_node": node, "output": output, "prompt_id": self.prompt_id})
                for node, output in shown_of(run)["outputs"].items()
            ]
        return [*messages, Text(*ending_of(run))]

    def resume(self) -> Sequence[Message]:
        """For a client that comes back while the run is on its way."""
        return [self._executing()] if self.node is not None else []

    def last(self) -> Text:
        """The sign of completion, after the history is written."""
        return Text("executing", {"node": None, "display_node": None, "prompt_id": self.prompt_id})

    def _begin(self, cached: Sequence[str]) -> list[Message]:
        if self.began:
            return []
        self.began = True
        return [Text("execution_cached", {"nodes": list(cached), **self._about()})]

    def _progress(self, node: str, value: float, maximum: float) -> list[Message]:
        messages: list[Message] = []
        if node != self.node:
            self._finish_node()
            self.node = node
            self.nodes[node] = self._node(node, "running", 0.0, 1.0)
            messages += [self._state(), self._executing()]
        if maximum > 1 or value > 0:
            self.nodes[node] = self._node(node, "running", value, maximum)
            step = {"value": value, "max": maximum, "prompt_id": self.prompt_id, "node": node}
            messages += [self._state(), Text("progress", step)]
        return messages

    def _finish_node(self) -> None:
        if self.node is not None:
            known = self.nodes[self.node]
            self.nodes[self.node] = {**known, "state": "finished", "value": known["max"]}

    def _node(self, node: str, state: str, value: float, maximum: float) -> dict[str, Any]:
        return {"value": value, "max": maximum, "state": state, "prompt_id": self.prompt_id, **_ids(node)}

    def _state(self) -> Text:
        return Text("progress_state", {"prompt_id": self.prompt_id, "nodes": dict(self.nodes)})

    def _executing(self) -> Text:
        return Text("executing", {"node": self.node, "display_node": self.node, "prompt_id": self.prompt_id})

    def _about(self) -> dict[str, Any]:
        return {"prompt_id": self.prompt_id, "timestamp": now_ms()}


def _ids(node: str) -> dict[str, Any]:
    return {"node_id": node, "display_node_id": node, "parent_node_id": None, "real_node_id": node}
