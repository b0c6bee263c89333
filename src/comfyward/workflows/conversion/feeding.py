"""The way from an input back to what feeds it: through boxes, bypassed nodes, reroutes and named values."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

from comfyward.errors import InvalidGraph
from comfyward.workflows.class_inputs import ANY
from comfyward.workflows.conversion.boxes import Opened
from comfyward.workflows.conversion.form import INNER_INPUTS, SavedLink, text_of
from comfyward.workflows.conversion.nodes import BYPASS, GET, NEVER, Kind, Node


class Fed(NamedTuple):
    """By the output of a node that runs."""

    node_id: str
    slot: int


class Given(NamedTuple):
    """By the value that a box has for its promoted input."""

    value: Any


class At(NamedTuple):
    """A socket on the way."""

    opened: Opened
    node: Node
    number: int


class Bypassed(NamedTuple):
    """An output of a bypassed node: which of its inputs it passes on depends on the type that is asked for."""

    opened: Opened
    node: Node
    slot: int

    def behind(self, wanted: str) -> At | None:
        number = _bypass(self.node, self.slot, wanted)
        return None if number is None else At(self.opened, self.node, number)


Place = TypeVar("Place")
Source = Fed | Given | None
"""None if nothing feeds a socket, so that a widget keeps its own value."""


class Feeds:
    """Finds what feeds the inputs of one workflow.

    Each socket is passed once, however many ways lead through it.
    """

    def __init__(self) -> None:
        self._ends: dict[At, At | Bypassed | Source] = {}
        self._sources: dict[At, Source] = {}

    def of(self, opened: Opened, node: Node, number: int) -> Source:
        """The source of a node's socket. Raises InvalidGraph for a way that goes in a circle."""
        first = at = At(opened, node, number)
        passed: dict[At, None] = {}
        while at not in self._sources:
            if at in passed:
                raise _endless(first)
            passed[at] = None
            found = self._end(at, first)
            if isinstance(found, Bypassed):
                found = found.behind(at.node.types[at.number])
            if isinstance(found, At):
                at = found
            else:
                return _known(found, passed, self._sources)
        return _known(self._sources[at], passed, self._sources)

    def _end(self, at: At, first: At) -> At | Bypassed | Source:
        """The place behind all reroutes: they ask for the type that they are asked for, all others for their own."""
        passed: dict[At, None] = {}
        while at not in self._ends:
            if at in passed:
                raise _endless(first)
            passed[at] = None
            found = _step(at)
            if isinstance(found, At) and found.node.kind is Kind.VIRTUAL:
                at = found
            else:
                return _known(found, passed, self._ends)
        return _known(self._ends[at], passed, self._ends)


def _known(found: Place, passed: dict[At, None], known: dict[At, Place]) -> Place:
    """The found place, which is known from now on of each socket on the way; most ways are too short for that."""
    if len(passed) > 1:
        known.update(dict.fromkeys(passed, found))
    return found


def _step(at: At) -> At | Bypassed | Source:
    """The source of a socket, or the next place on the way to it."""
    link = at.node.links[at.number]
    if link is None:
        return None
    origin_id = text_of(link.origin_id)
    box, outer = at.opened.box, at.opened.outer
    if origin_id == INNER_INPUTS and box is not None and outer is not None:
        return _outwards(outer, box, link.origin_slot)
    return _from_output(at.opened, origin_id, link.origin_slot)


def is_from_outside(link: SavedLink) -> bool:
    """True for a link inside of a definition that begins at one of its own inputs."""
    return text_of(link.origin_id) == INNER_INPUTS


def _outwards(outer: Opened, box: Node, number: int) -> At | Given | None:
    if not 0 <= number < len(box.links):
        return None
    if box.links[number] is not None:
        return At(outer, box, number)
    name = box.names[number]
    if name not in box.values:
        return None
    return Given(outer.given.get((box.id, name), box.values[name]))


def _from_output(opened: Opened, node_id: str, slot: int) -> At | Bypassed | Fed | None:
    """The source behind an output: the node itself if it runs, else the place behind it."""
    node = opened.scope.nodes.get(node_id)
    if node is None or node.mode == NEVER:
        return None
    if node.mode == BYPASS:
        return Bypassed(opened, node, slot)
    match node.kind:
        case Kind.BOX:
            return _inwards(opened, node, slot)
        case Kind.VIRTUAL if node.type == GET:
            name = node.given_name()
            setter = opened.scope.setters.get(name) if isinstance(name, str) else None
            return At(opened, setter, 0) if setter is not None and setter.links else None
        case Kind.VIRTUAL:
            return At(opened, node, slot) if 0 <= slot < len(node.links) else None
        case _:
            return Fed(opened.path(node), slot)


def _inwards(opened: Opened, box: Node, slot: int) -> At | Bypassed | Fed | None:
    """The source behind a box's output, found inside of it; boxes in boxes are opened on the way."""
    while True:
        inner = opened.inner[box.id]
        link: SavedLink | None = inner.scope.ends.get(slot)
        if link is None:
            return None
        origin_id = text_of(link.origin_id)
        if origin_id == INNER_INPUTS:
            number = link.origin_slot
            return At(opened, box, number) if 0 <= number < len(box.links) else None
        node = inner.scope.nodes.get(origin_id)
        if node is None or node.kind is not Kind.BOX or not node.is_active:
            return _from_output(inner, origin_id, link.origin_slot)
        opened, box, slot = inner, node, link.origin_slot


def _bypass(node: Node, slot: int, wanted: str) -> int | None:
    """The number of the input that a bypassed node passes on at an output."""
    types = node.types
    out = node.outputs[slot] if 0 <= slot < len(node.outputs) else ANY
    if wanted in (ANY, ""):
        return (slot if slot < len(types) else 0) if types else None
    if 0 <= slot < len(types) and fits(types[slot], out) and fits(types[slot], wanted):
        return slot
    for number, each in enumerate(types):
        if each == wanted:
            return number
    return next((number for number, each in enumerate(types) if fits(each, out) and fits(each, wanted)), None)


def fits(one: str, other: str) -> bool:
    """True if the editor lets one type be linked to the other.

    >>> fits("IMAGE,MASK", "mask"), fits("*", "INT"), fits("INT", "FLOAT")
    (True, True, False)
    """
    if one == other or one in (ANY, "") or other in (ANY, ""):
        return True
    ones, others = ({part.strip() for part in each.lower().split(",")} for each in (one, other))
    return bool(ones & others) or ANY in ones | others


def _endless(first: At) -> InvalidGraph:
    opened, node, number = first
    return InvalidGraph(
        f"The links to node {opened.path(node)} ({node.type}), input '{node.names[number]}' go in a circle.",
        hint="Remove one of the links on the way, which are of reroutes, bypassed nodes or subgraphs.",
        node_id=opened.path(node),
        class_type=node.type,
        input=node.names[number],
    )
