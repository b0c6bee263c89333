"""A file of the editor as scopes: its root, and the definitions that it uses, those inside of others first."""

from __future__ import annotations

from comfyward.workflows.class_inputs import AllInputs
from comfyward.workflows.conversion.broadcasts import broadcasts_in
from comfyward.workflows.conversion.definitions import order_of
from comfyward.workflows.conversion.form import read_file
from comfyward.workflows.conversion.group_nodes import with_definitions
from comfyward.workflows.conversion.nodes import EVERYWHERE, NodeReader
from comfyward.workflows.conversion.scopes import Scope, read_scope


def read_scopes(editor_graph: object, classes: AllInputs) -> tuple[Scope, dict[str, Scope]]:
    """(root, definitions by id). Raises InvalidGraph, naming the place, for a file that is damaged or too large."""
    file = with_definitions(read_file(editor_graph), classes)
    saved = {each.id: (number, each) for number, each in reversed(list(enumerate(file.subgraphs)))}
    is_everywhere = any(map(broadcasts_in, (file.extra, *(each.extra for each in file.subgraphs))))
    reader = NodeReader(classes, {name: each for name, (_, each) in saved.items()}, EVERYWHERE if is_everywhere else ())
    found: dict[str, Scope] = {}
    for name in order_of(file.nodes, {name: each for name, (_, each) in saved.items()}):
        number, each = saved[name]
        place = f"definitions.subgraphs[{number}]."
        sides = each.inputs or (), each.outputs or ()
        found[name] = read_scope(reader, place, each.nodes, each.links, *sides, extra=each.extra)
    return read_scope(reader, "", file.nodes, file.links, last=file.last_node_id, extra=file.extra), found
