"""The events of a run, translated into ComfyUI's websocket messages, in its order. Pure.

    execution_start · execution_cached · per node: progress_state · executing · progress* · executed
    · execution_success | execution_error | execution_interrupted · (status) · executing of no node

`executed` comes when the node's files can be fetched, at the latest at the end. (Source: ComfyUI's execution.py,
protocol.py and comfy_execution/progress.py.)
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from comfyward.api.native.shapes import ending_of, in_run_folder, node_results_of
from comfyward.runs.event import Cached, Event, NodeResult, Preview, Progress, Status, picture_of
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
    """A picture that a node sends, in one of ComfyUI's two binary forms; `about` names the node."""

    about: dict[str, Any]
    content_type: str
    data: bytes

    def encode(self, *, with_metadata: bool) -> bytes:
        if not with_metadata:
            return struct.pack(">II", PREVIEW, _FORMATS.get(self.content_type, 1)) + self.data
        about = msgspec.json.encode({**self.about, "image_type": self.content_type})
        return struct.pack(">II", PREVIEW_WITH_METADATA, len(about)) + about + self.data


Message = Text | Picture


@dataclass
class PromptMessages:
    """The messages of one prompt, with the state of its nodes after the messages so far."""

    prompt_id: str
    node: str | None = None  # the one that executes
    has_begun: bool = False
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)  # their progress
    executed: set[str] = field(default_factory=set)

    def translate(self, event: Event) -> Sequence[Message]:
        """The messages of an event that is not the last."""
        match event.payload:
            case Status(state=State.RUNNING):
                self.node, self.has_begun, self.nodes, self.executed = None, False, {}, set()
                return [Text("execution_start", self._about())]
            case Cached(nodes):
                return self._begin(nodes)
            case Progress() as progress:
                return [*self._begin([]), *self._progress(progress)]
            case NodeResult(node, display, result):
                self.executed.add(node)
                return [self._executed(node, display, in_run_folder(result, event.run_id))]
            case Preview(node, image):
                content_type, encoded = picture_of(image)
                return [self.picture(node or self.node, content_type, base64.b64decode(encoded))]
            case _:
                return []

    def picture(self, node: str | None, content_type: str, data: bytes) -> Picture:
        """A picture that a node sends: of work in progress, or a result."""
        return Picture({**self._ids(node or ""), "prompt_id": self.prompt_id}, content_type, data)

    def end(self, run: Run) -> Sequence[Message]:
        """The messages of a final run, up to the one that says how it ended."""
        messages: list[Message] = []
        if not self.has_begun and run.started_at is not None:
            messages += self._begin([])
        if run.state is State.SUCCEEDED and self.nodes:
            self.nodes = {node: _finished(known) for node, known in self.nodes.items()}
            messages.append(self._state())
        results = node_results_of(run)
        messages += [
            self._executed(node, (results["meta"].get(node) or {}).get("display_node") or node, output)
            for node, output in results["outputs"].items()
            if node not in self.executed
        ]
        return [*messages, Text(*ending_of(run))]

    def resume(self) -> Sequence[Message]:
        """The messages for a client that reconnects during the run."""
        return [self._executing(self.node)] if self.node is not None else []

    def last(self) -> Text:
        """The message of completion, which follows when the history is written."""
        return Text("executing", {"node": None, "display_node": None, "prompt_id": self.prompt_id})

    def _begin(self, cached: Sequence[str]) -> list[Message]:
        if self.has_begun:
            return []
        self.has_begun = True
        return [Text("execution_cached", {"nodes": list(cached), **self._about()})]

    def _progress(self, progress: Progress) -> list[Message]:
        messages: list[Message] = []
        node, value, maximum, is_finished = progress.node, progress.value, progress.maximum, progress.finished
        if node not in self.nodes:
            self.node = node
            self._update(progress, "running", 0.0, 1.0)
            messages += [self._state(), self._executing(node)]
        # Fast steps are reported together: the last one may come with the end of its node.
        is_last_step = is_finished and maximum > 1 and value > self.nodes[node]["value"]
        if is_last_step or ((maximum > 1 or value > 0) and not is_finished):
            self._update(progress, "running", value, maximum)
            step = {"value": _whole(value), "max": _whole(maximum), "prompt_id": self.prompt_id, "node": node}
            messages += [self._state(), Text("progress", step)]
        if is_finished:
            self._update(progress, "finished", value, maximum)
            messages.append(self._state())
        return messages

    def _update(self, progress: Progress, state: str, value: float, maximum: float) -> None:
        node = progress.node
        self.nodes[node] = {
            "value": _whole(value),
            "max": _whole(maximum),
            "state": state,
            "prompt_id": self.prompt_id,
            "node_id": node,
            "display_node_id": progress.display_node or node,
            "parent_node_id": progress.parent_node,
            "real_node_id": progress.real_node or node,
        }

    def _ids(self, node: str) -> dict[str, Any]:
        known = self.nodes.get(node, {})
        return {
            "node_id": node,
            "display_node_id": known.get("display_node_id", node),
            "parent_node_id": known.get("parent_node_id"),
            "real_node_id": known.get("real_node_id", node),
        }

    def _state(self) -> Text:
        return Text("progress_state", {"prompt_id": self.prompt_id, "nodes": dict(self.nodes)})

    def _executing(self, node: str) -> Text:
        display = self._ids(node)["display_node_id"]
        return Text("executing", {"node": node, "display_node": display, "prompt_id": self.prompt_id})

    def _executed(self, node: str, display: str, output: Any) -> Text:
        about = {"node": node, "display_node": display, "output": output, "prompt_id": self.prompt_id}
        return Text("executed", about)

    def _about(self) -> dict[str, Any]:
        return {"prompt_id": self.prompt_id, "timestamp": now_ms()}


def _finished(node: dict[str, Any]) -> dict[str, Any]:
    return {**node, "state": "finished", "value": node["max"]}


def _whole(number: float) -> float:
    """A number as nodes count steps: 3, not 3.0, which clients with types refuse."""
    return int(number) if float(number).is_integer() else number
