"""The nodes of a workflow with the sockets, widgets and values that the editor gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import msgspec

from comfyward.errors import InvalidGraph
from comfyward.workflows.class_inputs import CHOOSING, AllInputs, ClassInputs, Widget
from comfyward.workflows.conversion.form import (
    SavedDefinition,
    SavedInput,
    SavedLink,
    SavedNode,
    SavedSlot,
    socket_type,
)
from comfyward.workflows.conversion.values import Held, held_by
from comfyward.workflows.graph import MAX_NODES

MAX_SOCKETS = 50 * MAX_NODES  # of all nodes together, once boxes are open
NEVER, BYPASS = 2, 4
INACTIVE = (NEVER, BYPASS)
PRIMITIVE, REROUTE, SET, GET = "PrimitiveNode", "Reroute", "SetNode", "GetNode"
EVERYWHERE = ("Anything Everywhere", "Anything Everywhere3", "Anything Everywhere?", "Prompts Everywhere")
"""Nodes of a pack that nothing takes anything from: the links that they stand for are noted in the file."""
OF_THE_EDITOR = ("Note", "MarkdownNote", REROUTE, PRIMITIVE, SET, GET)


class Kind(Enum):
    CLASS = "class"  # that the catalog has
    BOX = "box"  # an instance of a subgraph
    VIRTUAL = "virtual"  # for the editor alone
    UNKNOWN = "unknown"


class Node(msgspec.Struct, eq=False, gc=False):
    """A node as the editor lays it out. `links` are those that end at its sockets, by the number of the socket."""

    id: str
    type: str
    kind: Kind
    mode: Any
    saved: SavedNode
    names: Sequence[str]
    types: Sequence[str]
    outputs: Sequence[str]
    widgets: Sequence[Widget]
    values: dict[str, Any]
    links: list[SavedLink | None]
    by_name: dict[str, Widget] | None = None  # its widgets, once one was asked for

    @property
    def is_active(self) -> bool:
        return self.mode not in INACTIVE

    @property
    def is_primitive(self) -> bool:
        return self.type == PRIMITIVE and self.kind is Kind.VIRTUAL

    @property
    def properties(self) -> dict[str, Any]:
        return self.saved.properties or {}

    def widget(self, name: str) -> Widget | None:
        if self.by_name is None:
            self.by_name = {widget.name: widget for widget in reversed(self.widgets)}
        return self.by_name.get(name)

    def given_name(self) -> Any:
        """The name that the node sets or gets a value by."""
        values = self.saved.widgets_values
        return values[0] if isinstance(values, list) and values else None


class Sides(msgspec.Struct, frozen=True):
    """The sockets of a definition's boxes."""

    names: Sequence[str]
    inputs: Sequence[str]
    outputs: Sequence[str]

    @classmethod
    def of(cls, definition: SavedDefinition) -> Sides:
        return cls(
            [each.name for each in definition.inputs or ()], _types(definition.inputs), _types(definition.outputs)
        )


class NodeReader:
    """Lays out nodes by what a catalog says of classes, and by the definitions of subgraphs.

    `others` are classes that are for the editor alone, unless the catalog has them.
    """

    def __init__(
        self, classes: AllInputs, definitions: Mapping[str, SavedDefinition], others: Sequence[str] = ()
    ) -> None:
        self._classes, self._for_editor = classes, (*OF_THE_EDITOR, *others)
        self._sides = {name: Sides.of(definition) for name, definition in definitions.items()}
        self._sockets = 0

    def read(self, node_id: str, saved: SavedNode, place: str) -> Node:
        """Raises InvalidGraph for values that cannot be read, and for too many sockets, with their place."""
        sides, known = self._sides.get(saved.type), None
        if sides is not None:
            kind, held, outputs = Kind.BOX, Held(sides.names, sides.inputs, (), {}), sides.outputs
        elif (known := self._classes.of(saved.type)) is not None:
            kind, held, outputs = Kind.CLASS, _held(saved, known, place), known.outputs
        else:
            kind = Kind.VIRTUAL if saved.type in self._for_editor else Kind.UNKNOWN
            held, outputs = _as_saved(saved), [socket_type(each.type) for each in saved.outputs or ()]
        self._sockets += len(held.names)
        if self._sockets > MAX_SOCKETS:
            message = f"The workflow has more than {MAX_SOCKETS} inputs, counted to '{place}'."
            raise InvalidGraph(message, place=place)
        links: list[SavedLink | None] = [None] * len(held.names)
        return Node(
            *(node_id, saved.type, kind, saved.mode, saved, held.names, held.types, outputs, held.widgets, held.values),
            links,
        )


def _held(saved: SavedNode, known: ClassInputs, place: str) -> Held:
    """The sockets and values of a known class, and the sockets that only the file has (packs add some by script)."""
    try:
        held = held_by(saved, known)
    except (TypeError, ValueError) as error:
        raise InvalidGraph(f"The values of the node at '{place}' cannot be read: {error}.", place=place) from error
    if not saved.inputs:
        return held
    added = _of_scripts(saved.inputs, held)
    if not added:
        return held
    names = [*held.names, *(each.name for each in added)]
    types = [*held.types, *(socket_type(each.type) for each in added)]
    return Held(names, types, held.widgets, held.values)


def _of_scripts(inputs: Sequence[SavedInput], held: Held) -> list[SavedInput]:
    """The inputs that the file has and the class has not, but for those of a choice that was not chosen."""
    own, widgets = set(held.names), {widget.name for widget in held.widgets}
    choices = tuple(f"{widget.name}." for widget in held.widgets if widget.kind == CHOOSING)
    return [
        each
        for each in inputs
        if each.name not in own
        and (each.widget_name is None or each.widget_name in widgets)
        and not (choices and each.name.startswith(choices))
    ]


def _as_saved(saved: SavedNode) -> Held:
    inputs = saved.inputs or ()
    return Held([each.name for each in inputs], [socket_type(each.type) for each in inputs], (), {})


def _types(slots: Sequence[SavedSlot] | None) -> list[str]:
    return [socket_type(each.type) for each in slots or ()]
