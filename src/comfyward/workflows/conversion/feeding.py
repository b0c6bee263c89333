"""The way from an input back to what feeds it: through boxes, bypassed nodes, reroutes and named values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from comfyward.errors import InvalidGraph
from comfyward.workflows.class_inputs import ANY
from comfyward.workflows.conversion.boxes import Opened
from comfyward.workflows.conversion.form import INNER_INPUTS, SavedLink, text_of
from comfyward.workflows.conversion.nodes import BYPASS, GET, NEVER, Kind, Node

MAX_STEPS = 20_000  # of all inputs together
SHORT_WAY = 64  # steps that need no look at whether they go in a circle


@dataclass(frozen=True, slots=True)
class Fed:
    """By the output of a node that runs."""

    node_id: str
    slot: int


@dataclass(frozen=True, slots=True)
class Given:
    """By the value that a box has for its promoted input."""

    value: Any


@dataclass(frozen=True, slots=True)
class At:
    """A socket on the way. `wanted` is the type that is asked for: of the first socket, or of a bypassed node's."""

    opened: Opened
    node: Node
    number: int
    wanted: str


class Feeds:
    """Finds what feeds the inputs of one workflow."""

    def __init__(self) -> None:
        self._steps = 0

    def of(self, opened: Opened, node: Node, number: int) -> Fed | Given | None:
        """The source of a node's socket; None if nothing does, so that a widget keeps its own value.

        Raises InvalidGraph for a way that goes in a circle, or for ways that are too long together.
        """
        at = At(opened, node, number, node.types[number])
        seen: set[tuple[int, int, int]] = set()
        begun = self._steps
        while True:
            found = _step(at)
            if not isinstance(found, At):
                return found
            at = found
            self._steps += 1
            if self._steps - begun > SHORT_WAY:
                key = (id(at.opened), id(at.node), at.number)
                if key in seen or self._steps > MAX_STEPS:
                    raise _endless(opened, node, number, is_circle=key in seen)
                seen.add(key)


def _step(at: At) -> At | Fed | Given | None:
    """The source of a socket, or the next socket on the way to it."""
    link = at.node.links[at.number]
    if link is None:
        return None
    origin_id = text_of(link.origin_id)
    box, outer = at.opened.box, at.opened.outer
    if origin_id == INNER_INPUTS and box is not None and outer is not None:
        return _outwards(outer, box, link.origin_slot)
    return _from_output(at.opened, origin_id, link.origin_slot, at.wanted)


def is_from_outside(link: SavedLink) -> bool:
    """True for a link inside of a definition that begins at one of its own inputs."""
    return text_of(link.origin_id) == INNER_INPUTS


def _outwards(outer: Opened, box: Node, number: int) -> At | Given | None:
    if not 0 <= number < len(box.links):
        return None
    if box.links[number] is not None:
        return At(outer, box, number, box.types[number])
    name = box.names[number]
    if name not in box.values:
        return None
    return Given(outer.given.get((box.id, name), box.values[name]))


def _from_output(opened: Opened, node_id: str, slot: int, wanted: str) -> At | Fed | None:
    """The source behind an output: the node itself if it runs, else the socket behind it."""
    node = opened.scope.nodes.get(node_id)
    if node is None or node.mode == NEVER:
        return None
    if node.mode == BYPASS:
        number = _bypass(node, slot, wanted)
        return None if number is None else At(opened, node, number, node.types[number])
    match node.kind:
        case Kind.BOX:
            return _inwards(opened, node, slot, wanted)
        case Kind.VIRTUAL if node.type == GET:
            name = node.given_name()
            setter = opened.scope.setters.get(name) if isinstance(name, str) else None
            return At(opened, setter, 0, wanted) if setter is not None and setter.links else None
        case Kind.VIRTUAL:
            return At(opened, node, slot, wanted) if 0 <= slot < len(node.links) else None
        case _:
            return Fed(opened.path(node), slot)


def _inwards(opened: Opened, box: Node, slot: int, wanted: str) -> At | Fed | None:
    """The source behind a box's output, found inside of it; boxes in boxes are opened on the way."""
    while True:
        inner = opened.inner[box.id]
        link: SavedLink | None = inner.scope.ends.get(slot)
        if link is None:
            return None
        origin_id = text_of(link.origin_id)
        if origin_id == INNER_INPUTS:
            number = link.origin_slot
            return At(opened, box, number, box.types[number]) if 0 <= number < len(box.links) else None
        node = inner.scope.nodes.get(origin_id)
        if node is None or node.kind is not Kind.BOX or not node.is_active:
            return _from_output(inner, origin_id, link.origin_slot, wanted)
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


def _endless(opened: Opened, node: Node, number: int, *, is_circle: bool) -> InvalidGraph:
    where = f"node {opened.path(node)} ({node.type}), input '{node.names[number]}'"
    what = "go in a circle" if is_circle else "pass through too many nodes"
    return InvalidGraph(
        f"The links to {where} {what}.",
        hint="Remove one of the links on the way, which are of reroutes, bypassed nodes or subgraphs.",
        node_id=opened.path(node),
        class_type=node.type,
        input=node.names[number],
    )
