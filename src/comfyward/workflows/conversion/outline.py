"""The nodes of a workflow in the editor's format that would run, found without a catalog."""

from __future__ import annotations

from typing import Any

import msgspec

from comfyward.workflows.class_inputs import AllInputs
from comfyward.workflows.conversion.boxes import open_all, order_of
from comfyward.workflows.conversion.form import read_file
from comfyward.workflows.conversion.group_nodes import with_definitions
from comfyward.workflows.conversion.scopes import Kind, Reader, Scope, promote

NOTHING = AllInputs({})


class EditorNode(msgspec.Struct, frozen=True):
    """A node that is neither muted nor bypassed, nor for the editor alone. `path` is such as "12:3" in a subgraph."""

    path: str
    class_type: str
    title: str
    properties: dict[str, Any]
    widget_values: list[Any] | dict[str, Any]


def active_nodes(editor_graph: dict[str, Any]) -> list[EditorNode]:
    """The nodes that would run, in the order of the file, those in subgraphs last. Raises InvalidGraph as `convert`."""
    file = with_definitions(read_file(editor_graph), NOTHING)
    saved = {definition.id: definition for definition in reversed(file.subgraphs)}
    reader, definitions = Reader(NOTHING, saved), dict[str, Scope]()
    for name in order_of(file.nodes, saved):
        each = saved[name]
        definitions[name] = reader.read(name, each.nodes, each.links, each.inputs or (), each.outputs or ())
        promote(definitions[name], definitions)
    opened = open_all(reader.read("", file.nodes, file.links), definitions)
    return [
        EditorNode(
            graph.path(node),
            node.type,
            node.saved.title if isinstance(node.saved.title, str) else node.type,
            node.properties,
            node.saved.widgets_values or [],
        )
        for graph in opened
        for node in graph.scope.nodes.values()
        if node.is_active and node.kind is Kind.UNKNOWN
    ]
