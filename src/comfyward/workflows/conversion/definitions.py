"""The definitions of a workflow's subgraphs, in the order in which they can be read, and few enough to be opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from comfyward.errors import InvalidGraph
from comfyward.workflows.conversion.form import SavedDefinition, SavedNode, text_of
from comfyward.workflows.conversion.nodes import INACTIVE
from comfyward.workflows.graph import MAX_DEPTH, MAX_NODES

BILLIONS = 10**9  # more is not counted


class _Measured(msgspec.Struct, frozen=True):
    """The nodes of a definition once its boxes are open, and the levels of boxes in it."""

    nodes: int
    depth: int


def order_of(root: Sequence[SavedNode], definitions: Mapping[str, SavedDefinition]) -> list[str]:
    """The definitions that are used, each after those inside of it.

    Raises InvalidGraph for one that contains itself, for too many levels, and for too many nodes once all are open.
    """
    inside = {name: _boxes(definition.nodes, definitions) for name, definition in definitions.items()}
    used, measured, begun = _boxes(root, definitions), dict[str, _Measured](), set[str]()
    waiting = [box.type for box in reversed(used)]
    while waiting:
        name = waiting[-1]
        left = [] if name in measured else [box for box in inside[name] if box.type not in measured]
        if left:
            begun.add(name)
            if itself := next((box for box in left if box.type in begun), None):
                raise _contains_itself(itself, definitions)
            waiting.extend(dict.fromkeys(box.type for box in reversed(left)))
            continue
        waiting.pop()
        begun.discard(name)
        if name not in measured:
            measured[name] = _measure(definitions[name].nodes, inside[name], measured)
    _refuse_many(root, used, measured)
    return list(measured)


def _measure(nodes: Sequence[SavedNode], boxes: Sequence[SavedNode], measured: Mapping[str, _Measured]) -> _Measured:
    """Muted and bypassed boxes are not opened."""
    count = len(nodes) + sum(measured[box.type].nodes for box in boxes if box.mode not in INACTIVE)
    return _Measured(min(count, BILLIONS), 1 + max((measured[box.type].depth for box in boxes), default=0))


def _refuse_many(root: Sequence[SavedNode], boxes: Sequence[SavedNode], measured: Mapping[str, _Measured]) -> None:
    if deep := next((box for box in boxes if measured[box.type].depth > MAX_DEPTH), None):
        node_id = text_of(deep.id)
        message = f"The subgraphs in node {node_id} are nested deeper than {MAX_DEPTH} levels."
        raise InvalidGraph(message, node_id=node_id, limit=MAX_DEPTH)
    total = _measure(root, boxes, measured).nodes
    if total <= MAX_NODES:
        return
    largest = text_of(max(boxes, key=lambda box: measured[box.type].nodes).id)
    counted = "billions of" if total == BILLIONS else total
    message = f"The workflow has {counted} nodes once its subgraphs are open; at most {MAX_NODES} are taken."
    raise InvalidGraph(f"{message} Most are in node {largest}.", node_id=largest, limit=MAX_NODES)


def _boxes(nodes: Sequence[SavedNode], definitions: Mapping[str, SavedDefinition]) -> list[SavedNode]:
    return [node for node in nodes if node.type in definitions]


def _contains_itself(box: SavedNode, definitions: Mapping[str, SavedDefinition]) -> InvalidGraph:
    title, node_id = definitions[box.type].name or box.type, text_of(box.id)
    message = f"The subgraph '{title}' contains itself, by its node {node_id}."
    return InvalidGraph(message, hint="Remove that node in the editor.", node_id=node_id, subgraph=box.type)
