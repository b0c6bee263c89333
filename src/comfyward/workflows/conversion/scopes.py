"""The root of a workflow and the definitions of its subgraphs: nodes, and links at the sockets where they end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from comfyward.workflows.class_inputs import CHOOSING
from comfyward.workflows.conversion.broadcasts import broadcasts_in, link_what_is_not
from comfyward.workflows.conversion.form import INNER_OUTPUTS, SavedLink, SavedNode, SavedSlot, links_of, text_of
from comfyward.workflows.conversion.nodes import SET, Kind, Node, NodeReader

NO_NODE = "-1"

Socket = tuple[Node, int]


class Scope(msgspec.Struct, eq=False):
    """A graph of its own: the root, or one definition."""

    nodes: dict[str, Node]
    links: Sequence[SavedLink]
    fed: Mapping[str, Sequence[Socket]]  # by the id of a node, the sockets where its links end
    setters: Mapping[Any, Node]  # by the name that they set, which other nodes get
    inputs: Sequence[SavedSlot] = ()
    ends: Mapping[int, SavedLink] = {}  # by the number of a definition's output, the link that feeds it


def read_scope(
    reader: NodeReader,
    place: str,
    nodes: Sequence[SavedNode],
    links: Any,
    inputs: Sequence[SavedSlot] = (),
    outputs: Sequence[SavedSlot] = (),
    last: object = 0,
    extra: object = None,
) -> Scope:
    """A scope in a place of the file. The second node of an id gets one above `last`. Raises InvalidGraph."""
    found: dict[str, Node] = {}
    last = max((number for number in (last, *(each.id for each in nodes)) if isinstance(number, int)), default=0)
    for number, saved in enumerate(nodes):
        node_id = text_of(saved.id)
        if node_id in found:
            last += 1
            node_id = str(last)
        if node_id != NO_NODE:
            found[node_id] = reader.read(node_id, saved, f"{place}nodes[{number}]")
    all_links = links_of(links, place)
    _connect(found, all_links)
    link_what_is_not(found, broadcasts_in(extra))
    return Scope(found, all_links, _fed(found.values()), _setters(found.values()), inputs, _ends(all_links, outputs))


class _Names(msgspec.Struct, gc=False):
    """The numbers of a node's sockets by name, and the names of its inputs by the link that they name."""

    numbers: dict[str, int]
    linked: dict[str, str]

    @classmethod
    def of(cls, node: Node) -> _Names:
        linked = {text_of(each.link): each.name for each in node.saved.inputs or () if each.link is not None}
        named = reversed(list(enumerate(node.names))) if linked else ()  # the first of a name counts
        return cls({name: number for number, name in named}, linked)

    def socket_of(self, link: SavedLink, node: Node) -> tuple[int | None, bool]:
        """(the number of the socket of a link, whether an input names the link)."""
        name = self.linked.get(text_of(link.id))
        if name is None:
            return link.target_slot, False
        number = self.numbers.get(name)
        return (_in_place_of(node, name, link.target_slot), False) if number is None else (number, True)


def _connect(nodes: Mapping[str, Node], links: Iterable[SavedLink]) -> None:
    """Puts each link at its socket: the one that names it, else the one with its number.

    The first at a socket stays, unless only a later one is named.
    """
    known: dict[str, _Names] = {}
    sure: set[tuple[str, int]] = set()
    for link in links:
        node = nodes.get(text_of(link.target_id))
        if node is None:
            continue
        names = known.get(node.id)
        if names is None:
            names = known[node.id] = _Names.of(node)
        number, is_named = names.socket_of(link, node)
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


def _fed(nodes: Iterable[Node]) -> dict[str, list[Socket]]:
    found: dict[str, list[Socket]] = defaultdict(list)
    for node in nodes:
        for number, link in enumerate(node.links):
            if link is not None:
                found[text_of(link.origin_id)].append((node, number))
    return found


def _setters(nodes: Iterable[Node]) -> dict[Any, Node]:
    found: dict[Any, Node] = {}
    for node in nodes:
        name = node.given_name()
        if node.type == SET and node.kind is Kind.VIRTUAL and isinstance(name, str):
            found.setdefault(name, node)
    return found


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
