"""The progress of ComfyUI with one graph: finished nodes, their results, and complete files. Pure.

A node of the graph may become other nodes at run time. They count as parts of it, so that neither the total nor the
finished part ever goes back. Nodes, their names and results may go on without end: the first are kept, up to a
bound, and the others ignored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from comfyward.comfy.messages import Executed, Executing, NodeState
from comfyward.worker.complete_files import CompleteFiles, Stamp
from comfyward.worker.protocol import NodeProgress

FINISHED = "finished"
MADE_CHARACTERS = 4 << 20  # of the names of nodes that are made at run time
NODE_CHARACTERS = 100  # that a node counts for, beside its names
SHOWN_CHARACTERS = 32 << 20  # of results: with more of them, the history is not read either


@dataclass
class _MadeNodes:
    """Nodes that are made at run time, by the node of the graph that they are parts of."""

    _all: Counter[str] = field(default_factory=Counter)
    _finished: Counter[str] = field(default_factory=Counter)
    _characters_left: int = MADE_CHARACTERS

    def takes(self, names: Iterable[str]) -> bool:
        """True if there is room for the names of one more, which is taken."""
        characters = NODE_CHARACTERS + sum(map(len, names))
        if characters > self._characters_left:
            return False
        self._characters_left -= characters
        return True

    def count(self, state: NodeState | None, number: int) -> None:
        """Adds a number to those in this state."""
        if state is not None and state.node != state.real:
            self._all[state.real] += number
            self._finished[state.real] += number if state.state == FINISHED else 0

    def part(self, real: str) -> float | None:
        """The finished part of a node of the graph, if others were made for it."""
        return self._finished[real] / (self._all[real] + 1) if self._all[real] else None


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
    _begun: set[str] = field(default_factory=set)  # nodes of the graph
    _made: _MadeNodes = field(default_factory=_MadeNodes)
    _files: CompleteFiles = field(default_factory=CompleteFiles)
    _shown_left: int = SHOWN_CHARACTERS

    def cached(self, nodes: Iterable[str]) -> list[str]:
        """Marks the nodes of the graph among these as finished, and returns them."""
        cached = [node for node in nodes if node in self.graph]
        self._done.update(cached)
        return cached

    def begin(self, begun: Executing) -> list[NodeProgress]:
        """The report of a node that starts; empty if it is one too many."""
        node = begun.node
        real = begun.display if node not in self.graph else node
        known = self.nodes.get(node) or NodeState(node, "running", 0.0, 1.0, begun.display, None, real)
        if not self._keep(known):
            return []
        self.current, self.is_output[node] = node, begun.is_output
        self._files.begin(node, begun.files)
        return [self._progress(known)]

    def move(self, states: Iterable[NodeState]) -> list[NodeProgress]:
        """Updates the states of nodes. Returns the reports of those that changed."""
        changed = [state for state in states if self.nodes.get(state.node) != state and self._keep(state)]
        for state in changed:
            if state.parent is not None:
                self._files.end(state.parent)  # its own work is done, its parts are at it
            if state.state == FINISHED:
                self._files.end(state.node)
                if state.node in self.graph:
                    self._done.add(state.node)
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
        """Stores the results of a node, while they are not too long."""
        if not executed.output or executed.characters > self._shown_left:
            return
        self._shown_left -= executed.characters
        state = self.nodes.get(executed.node)
        self.node_results[executed.node] = dict(executed.output)
        self.meta[executed.node] = {
            "node_id": executed.node,
            "display_node": executed.display,
            "parent_node": state.parent if state else None,
            "real_node_id": state.real if state else executed.node,
        }
        self._files.add_listed({executed.node: executed.output})

    def real(self, node: str | None) -> str | None:
        """The node of the graph that a node is, or is a part of."""
        state = None if node is None else self.nodes.get(node)
        return node if state is None else state.real

    def recall(self, node_results: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
        """Replaces the results by those of ComfyUI's history."""
        self.node_results, self.meta = dict(node_results), dict(meta)
        self._files.add_listed(node_results)

    def is_whole(self, name: str, stamp: Stamp) -> bool:
        """True if a file below output/ is complete: it belongs to a finished node."""
        return (bool(self.nodes) and self._files.are_at_rest) or self._files.has(name, stamp)

    def whole(self) -> dict[str, Stamp | None]:
        """The complete files, by name; without a stamp if it is not known."""
        return self._files.all()

    def _keep(self, state: NodeState) -> bool:
        """Stores the state of a node. Returns False if there is no room for its names."""
        known = self.nodes.get(state.node)
        if known is None or known.names != state.names:
            made = [name for name in state.names if name not in self.graph]
            if made and not self._made.takes(made):
                return False
        self._made.count(known, -1)
        self._made.count(state, 1)
        self.nodes[state.node] = state
        if state.real in self.graph:
            self._begun.add(state.real)
        return True

    def _part(self) -> float:
        under_way = self._begun - self._done
        return (len(self._done) + sum(map(self._part_of, under_way))) / max(1, len(self.graph))

    def _part_of(self, real: str) -> float:
        """The finished part of one node of the graph: of its steps, or of its parts."""
        if (made := self._made.part(real)) is not None:
            return made
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
