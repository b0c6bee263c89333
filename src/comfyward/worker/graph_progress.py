"""The progress of ComfyUI with one graph: finished nodes, their results, and complete files. Pure.

A node of the graph may become other nodes at run time. They count as parts of it, so that neither the total nor the
finished part ever goes back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from comfyward.comfy.messages import Executed, Executing, NodeState
from comfyward.worker.protocol import NodeProgress

FINISHED = "finished"

Stamp = tuple[int, int]  # of a file: its size, and when it was last written (ns)


@dataclass
class GraphProgress:
    """The progress of one run. `node_results` and `meta` are for ComfyUI's history, of the nodes that have finished."""

    graph: Collection[str]
    nodes: dict[str, NodeState] = field(default_factory=dict)
    node_results: dict[str, Any] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    is_output: dict[str, bool] = field(default_factory=dict)
    current: str | None = None
    part: float = 0.0
    _done: set[str] = field(default_factory=set)
    _files: Mapping[str, Stamp] | None = None
    _files_at: dict[str, Mapping[str, Stamp] | None] = field(default_factory=dict)  # by node that has not finished
    _listed: set[str] = field(default_factory=set)

    def cached(self, nodes: Iterable[str]) -> None:
        self._done.update(node for node in nodes if node in self.graph)

    def begin(self, begun: Executing) -> NodeProgress:
        self.current, self.is_output[begun.node] = begun.node, begun.is_output
        self._files = begun.files if begun.files is not None else self._files
        self._files_at[begun.node] = self._files
        real = begun.display if begun.node not in self.graph else begun.node
        known = self.nodes.setdefault(begun.node, NodeState(begun.node, "running", 0.0, 1.0, begun.display, None, real))
        return self._progress(known)

    def move(self, states: Iterable[NodeState]) -> list[NodeProgress]:
        """Updates the states of nodes. Returns the reports of those that changed."""
        changed = [state for state in states if self.nodes.get(state.node) != state]
        for state in changed:
            self.nodes[state.node] = state
            if state.parent is not None:
                self._files_at.pop(state.parent, None)  # its own work is done, its parts are at it
            if state.state == FINISHED:
                self._files_at.pop(state.node, None)
                self._done.update({state.node} & set(self.graph))
        self.part = max(self.part, self._part())
        # A node is told of when it has begun: its first state comes a moment before.
        return [self._progress(state) for state in changed if state.node in self.is_output]

    def step(self, node: str, value: float, maximum: float) -> list[NodeProgress]:
        """Updates the steps of a node. Returns the reports."""
        state = self.nodes.get(node)
        if state is None or (state.value, state.maximum) == (value, maximum):
            return []
        return self.move([NodeState(node, state.state, value, maximum, state.display, state.parent, state.real)])

    def finish(self, executed: Executed) -> None:
        """Stores the results of a node."""
        if not executed.output:
            return
        state = self.nodes.get(executed.node)
        self.node_results[executed.node] = dict(executed.output)
        self.meta[executed.node] = {
            "node_id": executed.node,
            "display_node": executed.display,
            "parent_node": state.parent if state else None,
            "real_node_id": state.real if state else executed.node,
        }
        self._listed.update(files_of({executed.node: executed.output}, "output"))

    def real(self, node: str | None) -> str | None:
        """The node of the graph that a node is, or is a part of."""
        state = None if node is None else self.nodes.get(node)
        return node if state is None else state.real

    def recall(self, node_results: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
        """Replaces the results by those of ComfyUI's history."""
        self.node_results, self.meta = dict(node_results), dict(meta)
        self._listed.update(files_of(node_results, "output"))

    def is_whole(self, name: str, stamp: Stamp) -> bool:
        """True if a file below output/ is complete: it belongs to a finished node."""
        if self.nodes and not self._files_at:
            return True
        before = self._before() or {}
        return before[name] == stamp if name in before else name in self._listed

    def whole(self) -> dict[str, Stamp | None]:
        """The complete files, by name; without a stamp if it is not known."""
        return dict.fromkeys(self._listed, None) | dict(self._before() or {})

    def _before(self) -> Mapping[str, Stamp] | None:
        """The files that existed when the first of the unfinished nodes started."""
        return next(iter(self._files_at.values())) if self._files_at else self._files

    def _part(self) -> float:
        under_way = {state.real for state in self.nodes.values()} & set(self.graph) - self._done
        return (len(self._done) + sum(map(self._part_of, under_way))) / max(1, len(self.graph))

    def _part_of(self, real: str) -> float:
        """The finished part of one node of the graph: of its steps, or of its parts."""
        parts = [state for state in self.nodes.values() if state.real == real and state.node != real]
        if parts:
            return sum(state.state == FINISHED for state in parts) / (len(parts) + 1)
        state = self.nodes.get(real)
        return min(1.0, state.value / state.maximum) if state and state.maximum > 0 else 0.0

    def _progress(self, state: NodeState) -> NodeProgress:
        is_made, is_finished = state.node not in self.graph, state.state == FINISHED
        return NodeProgress(
            state.node,
            state.value,
            state.maximum,
            len(self._done),
            len(self.graph),
            part=self.part,
            finished=is_finished,
            display=state.display if is_made else None,
            parent=state.parent,
            real=state.real if is_made else None,
        )


def files_of(outputs: Mapping[str, Any], kind: str) -> dict[str, str]:
    """The nodes that wrote the files of a kind ("output", "temp"), by file name, according to the results."""
    nodes: dict[str, str] = {}
    for node_id, result in outputs.items():
        for values in result.values() if isinstance(result, dict) else ():
            for item in values if isinstance(values, list) else ():
                if isinstance(item, dict) and item.get("type") == kind and isinstance(item.get("filename"), str):
                    folder = str(item.get("subfolder") or "").strip("/")
                    nodes[f"{folder}/{item['filename']}" if folder else item["filename"]] = str(node_id)
    return nodes
