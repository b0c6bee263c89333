"""The opening of boxes: each instance of a subgraph is a graph of its own, with values of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from comfyward.errors import InvalidGraph
from comfyward.workflows.conversion.nodes import MAX_SOCKETS, Kind, Node
from comfyward.workflows.conversion.promotions import Promotion, Promotions
from comfyward.workflows.conversion.scopes import Scope

Given = Mapping[tuple[str, str], Any]
"""Values of widgets, by the ids of their nodes and their names."""


class Opened(msgspec.Struct, eq=False):
    """A scope in its place: the root, or inside of one box. `given` are values for its nodes that only this box has."""

    scope: Scope
    prefix: str
    box: Node | None = None
    outer: Opened | None = None
    inner: dict[str, Opened] = {}
    given: Given = {}

    def path(self, node: Node) -> str:
        return f"{self.prefix}{node.id}"


def open_all(root: Scope, definitions: Mapping[str, Scope], promotions: Promotions) -> list[Opened]:
    """The root and everything inside of its boxes, of which there are few enough.

    Raises InvalidGraph if their sockets are too many.
    """
    found, given, sockets = [Opened(root, "")], dict[int, Given](), 0
    for opened in found:  # grows
        sockets += sum(len(node.links) for node in opened.scope.nodes.values())
        if sockets > MAX_SOCKETS:
            message = f"The workflow has more than {MAX_SOCKETS} inputs once its subgraphs are open."
            raise InvalidGraph(message, node_id=opened.prefix.rstrip(":"), limit=MAX_SOCKETS)
        for box in opened.scope.nodes.values():
            if box.kind is not Kind.BOX or not box.is_active:
                continue
            inner = Opened(definitions[box.type], f"{opened.path(box)}:", box, opened)
            if id(box) not in given:
                given[id(box)] = _given(box, inner.scope, promotions[box.type])
            inner.given = given[id(box)]
            opened.inner[box.id] = inner
            found.append(inner)
    return found


def _given(box: Node, scope: Scope, promoted: Sequence[Promotion | None]) -> Given:
    """The values inside of a box that its old list of widgets (`proxyWidgets`) sets; it sets promoted inputs, too."""
    values = box.saved.widgets_values
    proxies = list(_proxies(box)) if isinstance(values, list) else []
    if not proxies or not isinstance(values, list):
        return {}
    shown = _shown(scope, promoted)
    counts = Counter(node_id for node_id, _ in proxies)
    found: dict[tuple[str, str], Any] = {}
    for (node_id, name), value in zip(proxies, values, strict=False):
        if name.startswith("$$"):
            continue
        number = shown.get((node_id, name), shown.get((node_id, _without_id(name))))
        node = scope.nodes.get(node_id)
        if number is not None:
            box.values[box.names[number]] = value
        elif node is not None and not (node.is_primitive and counts[node_id] > 1):  # the editor gives those up
            found |= dict.fromkeys(_targets(scope, node, name), value)
    return found


def _shown(scope: Scope, promoted: Sequence[Promotion | None]) -> dict[tuple[str, str], int]:
    """The numbers of a box's promoted inputs, by the widgets that they stand for, and by their own names under -1."""
    found: dict[tuple[str, str], int] = {}
    for number, promotion in enumerate(promoted):
        if promotion is not None:
            found.setdefault(("-1", scope.inputs[number].name), number)
            found.setdefault((promotion.node.id, promotion.input_name), number)
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


def _without_id(name: str) -> str:
    """The name without the id of a node in front, such as in "6: text"."""
    before, colon, rest = name.partition(": ")
    return rest if colon and before.lstrip("-").isdigit() else name


def _targets(scope: Scope, node: Node, name: str) -> Iterator[tuple[str, str]]:
    """The widgets inside that a value is for: of the node, or those that a primitive feeds."""
    if node.is_primitive:
        for target, widget in fed_by(scope, node):
            yield target.id, widget
        return
    for found in dict.fromkeys((name, _without_id(name))):
        if found in node.values or node.widget(found) is not None:
            yield node.id, found
            return


def fed_by(scope: Scope, primitive: Node) -> Iterator[tuple[Node, str]]:
    """The widgets at the ends of a primitive's links, in its own graph."""
    for target, number in scope.fed.get(primitive.id, ()):
        link, name = target.links[number], target.names[number]
        if link is not None and link.origin_slot == 0 and (name in target.values or target.widget(name) is not None):
            yield target, name
