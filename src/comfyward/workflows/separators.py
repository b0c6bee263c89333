"""Converts file names with Windows separators, `SDXL\\model.safetensors`, to slashes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from comfyward.workflows.catalog import INPUT_FOLDER, Catalog
from comfyward.workflows.graph import Graph, Node
from comfyward.workflows.listing import Listing, Paths, places

BACKSLASH = "\\"


def with_slashes(graph: Graph, catalog: Catalog | None, brought: Paths) -> Graph:
    """The graph with slashes in the names that exist only with slashes."""
    concerned = {text.node.id: text.node for text in graph.texts if BACKSLASH in text.value}
    changed = {
        node_id: inputs
        for node_id, node in concerned.items()
        if (inputs := _inputs(node, catalog or Catalog(), brought)) != node.inputs
    }
    return graph.with_inputs(changed)


def _inputs(node: Node, catalog: Catalog, brought: Paths) -> dict[str, Any]:
    inputs = {}
    for name, value in node.inputs.items():
        is_known = partial(_is_known, class_type=node.class_type, input_name=name, catalog=catalog, brought=brought)
        inputs[name] = _replaced(value, is_known)
    return inputs


def _is_known(text: str, *, class_type: str, input_name: str, catalog: Catalog, brought: Paths) -> bool:
    """True if an input's string names one of its choices or a file of the run."""
    listings = catalog.listings_of(class_type, input_name)
    if listings and any(
        spec.name == input_name and text in (spec.choices or ()) for spec in catalog.inputs(class_type)
    ):
        return True
    if not listings:
        listings = [Listing(INPUT_FOLDER), *(Listing(directory) for directory in catalog.directories)]
        if any(text in names for names in catalog.models.values()):
            return True
    return any(path in brought for path in places(listings, text)) or text in brought.offered(listings)


def _replaced(value: Any, is_known: Callable[[str], bool]) -> Any:
    match value:
        case str() if BACKSLASH in value:
            other = value.replace(BACKSLASH, "/")
            return other if is_known(other) and not is_known(value) else value
        case Mapping():
            return {key: _replaced(inner, is_known) for key, inner in value.items()}
        case list():
            return [_replaced(inner, is_known) for inner in value]
        case _:
            return value
