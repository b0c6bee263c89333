"""The nodes of a workflow in the editor's format that would run, found without a catalog."""

from __future__ import annotations

from typing import Any

import msgspec

from comfyward.workflows.class_inputs import AllInputs
from comfyward.workflows.conversion.boxes import open_all
from comfyward.workflows.conversion.nodes import Kind
from comfyward.workflows.conversion.promotions import Promotion, promotions_of
from comfyward.workflows.conversion.reading import read_scopes

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
    root, definitions = read_scopes(editor_graph, NOTHING)
    promotions: dict[str, list[Promotion | None]] = {}
    for name, scope in definitions.items():
        promotions[name] = promotions_of(scope, promotions)
    opened = open_all(root, definitions, promotions)
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
