"""The root of a workflow and the definitions of its subgraphs, with the sockets, values and links of their nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any

import msgspec

from comfyward.errors import InvalidGraph
from comfyward.workflows.class_inputs import CHOOSING, AllInputs, ClassInputs, Widget
from comfyward.workflows.conversion.form import (
    INNER_INPUTS,
    INNER_OUTPUTS,
    SavedDefinition,
    SavedInput,
    SavedLink,
    SavedNode,
    SavedSlot,
    links_of,
    socket_type,
    text_of,
)
from comfyward.workflows.conversion.values import Held, as_held, held_by

NEVER, BYPASS = 2, 4
INACTIVE = (NEVER, BYPASS)
PRIMITIVE, REROUTE, SET, GET = "PrimitiveNode", "Reroute", "SetNode", "GetNode"
OF_THE_EDITOR = ("Note", "MarkdownNote", REROUTE, PRIMITIVE, SET, GET)
NO_NODE = "-1"


class Kind(Enum):
    CLASS = "class"  # that the catalog has
    BOX = "box"  # an instance of a subgraph
    VIRTUAL = "virtual"  # for the editor alone
    UNKNOWN = "unknown"


class Node(msgspec.Struct, eq=False):
    """A node as the editor lays it out. `links` are those that end at its sockets, by the number of the socket."""

    id: str
    type: str
    kind: Kind
    mode: Any
    saved: SavedNode
    place: str  # in the file
    names: Sequence[str]
    types: Sequence[str]
    outputs: Sequence[str]
    widgets: Sequence[Widget]
    values: dict[str, Any]
    links: list[SavedLink | None]

    @property
    def is_active(self) -> bool:
        return self.mode not in INACTIVE

    @property
    def properties(self) -> dict[str, Any]:
        return self.saved.properties or {}

    def widget(self, name: str) -> Widget | None:
        return next((widget for widget in self.widgets if widget.name == name), None)


class Promotion(msgspec.Struct, frozen=True):
    """The widget that an input of a definition stands for: of a node in it, or an input of a box in it."""

    node: Node
    input_name: str
    widget: Widget


class Scope(msgspec.Struct, eq=False):
    """A graph of its own: the root, or one definition."""

    place: str
    nodes: dict[str, Node]
    inputs: Sequence[SavedSlot] = ()
    ends: Mapping[int, SavedLink] = {}  # by the number of a definition's output, the link that feeds it
    promoted: list[Promotion | None] = []  # by the number of a definition's input
    links: Sequence[SavedLink] = ()

    def setter(self, name: Any) -> Node | None:
        """The node that sets a name, which others get."""
        found = (node for node in self.nodes.values() if node.type == SET and node.kind is Kind.VIRTUAL)
        return next((node for node in found if name_of(node) == name), None)


def name_of(node: Node) -> Any:
    """The name that a node sets or gets."""
    values = node.saved.widgets_values
    return values[0] if isinstance(values, list) and values else None


class Reader:
    """Reads scopes with what a catalog says of classes, and the definitions that were read before."""

    def __init__(self, classes: AllInputs, definitions: Mapping[str, SavedDefinition]) -> None:
        self._classes, self._definitions = classes, definitions

    def read(
        self,
        place: str,
        nodes: Sequence[SavedNode],
        links: Any,
        inputs: Sequence[SavedSlot] = (),
        outputs: Sequence[SavedSlot] = (),
        last: int = 0,
    ) -> Scope:
        """A scope whose links are in place; the second node of an id gets one above `last`. Raises InvalidGraph."""
        found: dict[str, Node] = {}
        for number, saved in enumerate(nodes):
            node_id = text_of(saved.id)
            if node_id in found:
                last = max(last, *(each.id for each in nodes if isinstance(each.id, int))) + 1
                node_id = str(last)
            if node_id != NO_NODE:
                found[node_id] = self._node(node_id, saved, f"{place}nodes[{number}]")
        all_links = links_of(links, place)
        _connect(found, all_links)
        return Scope(place, found, inputs, _ends(all_links, outputs), [], all_links)

    def _node(self, node_id: str, saved: SavedNode, place: str) -> Node:
        definition, known = self._definitions.get(saved.type), None
        if definition is not None:
            kind, held = Kind.BOX, _box(definition)
        elif (known := self._classes.of(saved.type)) is not None:
            kind, held = Kind.CLASS, _held(saved, known, place)
        else:
            kind = Kind.VIRTUAL if saved.type in OF_THE_EDITOR else Kind.UNKNOWN
            held = _as_saved(saved)
        if known is not None:
            outputs: Sequence[str] = known.outputs
        elif definition is not None:
            outputs = [socket_type(each.type) for each in definition.outputs or ()]
        else:
            outputs = [socket_type(each.type) for each in saved.outputs or ()]
        return Node(
            node_id,
            saved.type,
            kind,
            saved.mode,
            saved,
            place,
            held.names,
            held.types,
            outputs,
            held.widgets,
            held.values,
            [None] * len(held.names),
        )


def _held(saved: SavedNode, known: ClassInputs, place: str) -> Held:
    """The sockets and values of a known class, and the sockets that only the file has (packs add some by script)."""
    try:
        held = held_by(saved, known)
    except (TypeError, ValueError) as error:
        raise InvalidGraph(f"The values of the node at '{place}' cannot be read: {error}.", place=place) from error
    if not saved.inputs:
        return held
    own = set(held.names)
    added = [each for each in saved.inputs if each.name not in own and _is_kept(each, held)]
    if not added:
        return held
    names = [*held.names, *(each.name for each in added)]
    types = [*held.types, *(socket_type(each.type) for each in added)]
    return Held(names, types, held.widgets, held.values)


def _is_kept(each: SavedInput, held: Held) -> bool:
    if each.widget_name is not None and all(widget.name != each.widget_name for widget in held.widgets):
        return False
    return not any(widget.kind == CHOOSING and each.name.startswith(f"{widget.name}.") for widget in held.widgets)


def _box(definition: SavedDefinition) -> Held:
    inputs = definition.inputs or ()
    return Held([each.name for each in inputs], [socket_type(each.type) for each in inputs], (), {})


def _as_saved(saved: SavedNode) -> Held:
    inputs = saved.inputs or ()
    return Held([each.name for each in inputs], [socket_type(each.type) for each in inputs], (), {})


def _connect(nodes: Mapping[str, Node], links: Iterable[SavedLink]) -> None:
    """Puts each link at its socket: the one that names it, else the one with its number. The first at a socket stays,
    unless only a later one is named.
    """
    named: dict[str, dict[str, str]] = {}
    sure: set[tuple[str, int]] = set()
    for link in links:
        node = nodes.get(text_of(link.target_id))
        if node is None:
            continue
        names = named.get(node.id)
        if names is None:
            names = {text_of(each.link): each.name for each in node.saved.inputs or () if each.link is not None}
            named[node.id] = names
        name = names.get(text_of(link.id))
        number = link.target_slot if name is None else _number(node, name)
        is_named = name is not None and number is not None
        if name is not None and number is None:
            number = _in_place_of(node, name, link.target_slot)
        if number is None or not 0 <= number < len(node.links):
            continue
        if node.links[number] is None or (is_named and (node.id, number) not in sure):
            node.links[number] = link
            if is_named:
                sure.add((node.id, number))


def _in_place_of(node: Node, name: str, slot: int) -> int | None:
    """The number of the socket that takes the link of an input which a definition, or a choice, has no more."""
    if node.kind is Kind.BOX:
        return slot
    choices = [widget.name for widget in node.widgets if widget.kind == CHOOSING]
    is_of_choice = any(name.startswith(f"{choice}.") for choice in choices)
    return slot if is_of_choice and 0 <= slot < len(node.names) and node.names[slot] not in choices else None


def _number(node: Node, name: str) -> int | None:
    try:
        return node.names.index(name)
    except ValueError:
        return None


def _ends(links: Sequence[SavedLink], outputs: Sequence[SavedSlot]) -> dict[int, SavedLink]:
    """The first link of each output of a definition, in the order that the output says, else in the file's."""
    inside = [link for link in links if text_of(link.target_id) == INNER_OUTPUTS]
    by_id = {text_of(link.id): link for link in inside}
    found: dict[int, SavedLink] = {}
    for number, output in enumerate(outputs):
        listed = (by_id.get(text_of(each)) for each in output.linkIds or ())
        first = next((link for link in listed if link is not None and link.target_slot == number), None)
        if first is not None:
            found[number] = first
    for link in inside:
        found.setdefault(link.target_slot, link)
    return found


def promote(scope: Scope, definitions: Mapping[str, Scope]) -> None:
    """Finds the widgets that the inputs of a definition stand for; the definitions in it are done before."""
    by_slot: dict[int, list[SavedLink]] = {}
    for link in scope.links:
        if text_of(link.origin_id) == INNER_INPUTS:
            by_slot.setdefault(link.origin_slot, []).append(link)
    for number, slot in enumerate(scope.inputs):
        links = by_slot.get(number, [])
        order = {text_of(each): place for place, each in enumerate(slot.linkIds or ())}
        links.sort(key=lambda link: order.get(text_of(link.id), len(order)))
        scope.promoted.append(_promotion(scope, links[0], definitions) if links else None)


def _promotion(scope: Scope, link: SavedLink, definitions: Mapping[str, Scope]) -> Promotion | None:
    node = scope.nodes.get(text_of(link.target_id))
    if node is None:
        return None
    number = next((number for number, each in enumerate(node.links) if each is link), None)
    if number is None:
        return None
    if node.kind is Kind.BOX:
        inner = definitions[node.type].promoted[number]
        return inner and Promotion(node, node.names[number], inner.widget)
    widget = node.widget(node.names[number])
    return Promotion(node, widget.name, widget) if widget else None


def fill_boxes(scope: Scope, definitions: Mapping[str, Scope]) -> None:
    """Gives the boxes of a scope the values of their promoted inputs: those inside, then their own."""
    for node in scope.nodes.values():
        if node.kind is not Kind.BOX:
            continue
        saved = node.saved.widgets_values
        number = 0
        for name, promotion in zip(node.names, definitions[node.type].promoted, strict=True):
            if promotion is None:
                continue
            if isinstance(saved, list) and number < len(saved):
                node.values[name] = as_held(promotion.widget, saved[number])
            elif promotion.input_name in promotion.node.values:
                node.values[name] = promotion.node.values[promotion.input_name]
            number += 1
        node.widgets = [
            msgspec.structs.replace(promotion.widget, name=name)
            for name, promotion in zip(node.names, definitions[node.type].promoted, strict=True)
            if promotion is not None
        ]
