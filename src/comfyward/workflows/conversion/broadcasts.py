"""Links that the script of the pack "Use Everywhere" makes when Run is pressed: those that it noted in the file.

Its nodes give a value to every input that fits and has no link. With each change of the graph, the script notes what
that links in `extra.ue_links`: [{"downstream", "downstream_slot", "upstream", "upstream_slot", "controller", "type"}],
ids of nodes and numbers of their inputs and outputs. (Source: cg-use-everywhere, use_everywhere_graph_analysis.js.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from comfyward.workflows.conversion.form import MAX_LINKS, Id, SavedLink, text_of
from comfyward.workflows.conversion.nodes import Node

NOTED = "ue_links"


class Broadcast(msgspec.Struct, gc=False):
    downstream: Id
    downstream_slot: int
    upstream: Id
    upstream_slot: int


def broadcasts_in(extra: Any) -> list[Broadcast]:
    """The links that are noted in the `extra` of a graph; what has not their form is none."""
    noted = extra.get(NOTED) if isinstance(extra, dict) else None
    return list(_read(noted[:MAX_LINKS])) if isinstance(noted, list) else []


def _read(noted: list[Any]) -> Iterator[Broadcast]:
    for each in noted:
        try:
            yield msgspec.convert(each, Broadcast)
        except msgspec.ValidationError:
            continue


def link_what_is_not(nodes: Mapping[str, Node], broadcasts: list[Broadcast]) -> None:
    """Puts each noted link at its socket, which the file's input of that number names, if there is no other."""
    known: dict[str, dict[str, int]] = {}  # by the id of a node, the numbers of its sockets
    for each in broadcasts:
        node = nodes.get(text_of(each.downstream))
        inputs = (node.saved.inputs or ()) if node is not None else ()
        if node is None or not 0 <= each.downstream_slot < len(inputs):
            continue
        if node.id not in known:
            known[node.id] = {name: number for number, name in reversed(list(enumerate(node.names)))}
        number = known[node.id].get(inputs[each.downstream_slot].name)
        if number is not None and node.links[number] is None:
            node.links[number] = SavedLink(NOTED, each.upstream, each.upstream_slot, each.downstream, number)
