"""The opening of boxes: each instance of a subgraph is a graph of its own, with values of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from comfyward.errors import InvalidGraph
from comfyward.workflows.conversion.form import SavedDefinition, SavedNode, text_of
from comfyward.workflows.conversion.scopes import INACTIVE, PRIMITIVE, Kind, Node, Scope
from comfyward.workflows.graph import MAX_NODES

BILLIONS = 10**9  # more is not counted


class Opened(msgspec.Struct, eq=False):
    """A scope in its place: the root, or inside of one box. `given` are values for its nodes that only this box has."""

    scope: Scope
    prefix: str
    box: Node | None = None
    outer: Opened | None = None
    inner: dict[str, Opened] = {}
    given: dict[tuple[str, str], Any] = {}

    def path(self, node: Node) -> str:
        return f"{self.prefix}{node.id}"


def order_of(root: list[SavedNode], definitions: Mapping[str, SavedDefinition]) -> list[str]:
    """The definitions that are used, each after those inside of it.

    Raises InvalidGraph for one that contains itself, and for a workflow with too many nodes once its boxes are open.
    """
    inside = {name: _boxes(definition.nodes, definitions) for name, definition in definitions.items()}
    sizes: dict[str, int] = {}
    begun: set[str] = set()
    used = _boxes(root, definitions)
    waiting = [box.type for box in reversed(used)]
    while waiting:
        name = waiting[-1]
        left = [] if name in sizes else [box for box in inside[name] if box.type not in sizes]
        if not left:
            waiting.pop()
            begun.discard(name)
            sizes.setdefault(name, _size(definitions[name].nodes, inside[name], sizes))
            continue
        begun.add(name)
        for box in left:
            if box.type in begun:
                raise _contains_itself(box, definitions)
        waiting.extend(dict.fromkeys(box.type for box in reversed(left)))
    _refuse_many(root, used, sizes)
    return list(sizes)


def _size(nodes: Sequence[SavedNode], boxes: Sequence[SavedNode], sizes: Mapping[str, int]) -> int:
    """The nodes of a graph once its boxes are open; muted and bypassed boxes are not opened."""
    return min(len(nodes) + sum(sizes[box.type] for box in boxes if box.mode not in INACTIVE), BILLIONS)


def _refuse_many(root: Sequence[SavedNode], boxes: Sequence[SavedNode], sizes: Mapping[str, int]) -> None:
    total = _size(root, boxes, sizes)
    if total <= MAX_NODES:
        return
    largest = max(boxes, key=lambda box: sizes[box.type])
    counted = "billions of" if total == BILLIONS else total
    raise InvalidGraph(
        f"The workflow has {counted} nodes once its subgraphs are open; at most {MAX_NODES} are taken."
        f" Most are in node {text_of(largest.id)}.",
        node_id=text_of(largest.id),
        limit=MAX_NODES,
    )


def _boxes(nodes: Sequence[SavedNode], definitions: Mapping[str, SavedDefinition]) -> list[SavedNode]:
    return [node for node in nodes if node.type in definitions]


def _contains_itself(box: SavedNode, definitions: Mapping[str, SavedDefinition]) -> InvalidGraph:
    title, node_id = definitions[box.type].name or box.type, text_of(box.id)
    message = f"The subgraph '{title}' contains itself, by its node {node_id}."
    return InvalidGraph(message, hint="Remove that node in the editor.", node_id=node_id, subgraph=box.type)


def open_all(root: Scope, definitions: Mapping[str, Scope]) -> list[Opened]:
    """The root and everything inside of its boxes, which `order_of` has found to be few enough."""
    found = [Opened(root, "")]
    for opened in found:  # grows
        for box in opened.scope.nodes.values():
            if box.kind is not Kind.BOX or not box.is_active:
                continue
            inner = Opened(definitions[box.type], f"{opened.path(box)}:", box, opened)
            inner.given = _given(box, inner.scope)
            opened.inner[box.id] = inner
            found.append(inner)
    return found


def _given(box: Node, scope: Scope) -> dict[tuple[str, str], Any]:
    """The values inside of a box that its old list of widgets (`proxyWidgets`) sets; it sets promoted inputs, too."""
    values = box.saved.widgets_values
    if not isinstance(values, list):
        return {}
    found: dict[tuple[str, str], Any] = {}
    proxies = list(_proxies(box))
    counts = Counter(node_id for node_id, _ in proxies)
    for (node_id, name), value in zip(proxies, values, strict=False):
        if name.startswith("$$"):
            continue
        number = _input_for(scope, node_id, name)
        if number is not None:
            box.values[box.names[number]] = value
        elif (node := scope.nodes.get(node_id)) is not None and not (_is_primitive(node) and counts[node_id] > 1):
            found |= dict.fromkeys(_targets(scope, node, name), value)
    return found


def _proxies(box: Node) -> Iterator[tuple[str, str]]:
    listed = box.properties.get("proxyWidgets")
    if isinstance(listed, str):
        try:
            listed = msgspec.json.decode(listed)
        except (msgspec.DecodeError, RecursionError):
            listed = None
    for each in listed if isinstance(listed, list) else ():
        match each:
            case [str() | int() as node_id, str(name), *_]:
                yield str(node_id), name
            case _:
                yield "", "$$"  # takes its place among the values


def _input_for(scope: Scope, node_id: str, name: str) -> int | None:
    """The number of the box's input that stands for a widget inside."""
    for number, promotion in enumerate(scope.promoted):
        if promotion is None:
            continue
        if node_id == "-1":
            if scope.inputs[number].name == name:
                return number
        elif promotion.node.id == node_id and promotion.input_name in (name, _without_id(name)):
            return number
    return None


def _without_id(name: str) -> str:
    """The name without the id of a node in front, such as in "6: text"."""
    before, colon, rest = name.partition(": ")
    return rest if colon and before.lstrip("-").isdigit() else name


def _targets(scope: Scope, node: Node, name: str) -> Iterator[tuple[str, str]]:
    """The widgets inside that a value is for: of the node, or those that a primitive feeds."""
    if _is_primitive(node):
        for target, widget in fed_by(scope, node):
            yield target.id, widget
        return
    names = [widget.name for widget in node.widgets]
    found = name if name in names else _without_id(name)
    if found in names:
        yield node.id, found


def _is_primitive(node: Node) -> bool:
    return node.type == PRIMITIVE and node.kind is Kind.VIRTUAL


def fed_by(scope: Scope, primitive: Node) -> Iterator[tuple[Node, str]]:
    """The widgets at the ends of a primitive's links, in its own graph."""
    for target in scope.nodes.values():
        for number, link in enumerate(target.links):
            if link is not None and text_of(link.origin_id) == primitive.id and link.origin_slot == 0:
                name = target.names[number]
                if target.widget(name) is not None:
                    yield target, name
