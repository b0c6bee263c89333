"""The API's graph of a workflow in the editor's format: what the editor would send when Run is pressed there.

(Source of the rules: ComfyUI's editor, version 1.58. Tests compare with it, graph for graph.)
"""

from __future__ import annotations

import random
from datetime import datetime
from typing import Any

from comfyward.workflows.catalog import Catalog
from comfyward.workflows.conversion.boxes import Opened, open_all, order_of
from comfyward.workflows.conversion.form import SavedFile, read_file
from comfyward.workflows.conversion.group_nodes import with_definitions
from comfyward.workflows.conversion.labels import label_of
from comfyward.workflows.conversion.primitives import feed_widgets
from comfyward.workflows.conversion.refusals import refuse_browser_only, refuse_unknown, refused
from comfyward.workflows.conversion.scopes import Kind, Node, Reader, Scope, fill_boxes, promote
from comfyward.workflows.conversion.sending import Sender, Words
from comfyward.workflows.conversion.texts import Choose


def convert(
    editor_graph: dict[str, Any],
    catalog: Catalog,
    now: datetime | None = None,
    choose: Choose = random.randrange,
) -> dict[str, Any]:
    """The graph in the API's format, with paths such as "12:3" as the ids of nodes in subgraphs.

    `now` is the time for dates in file names, `choose` picks one of several texts. Raises InvalidGraph, naming the
    place, for a file that is damaged or too large; UnknownClasses for nodes of classes that the catalog lacks.
    """
    file = with_definitions(read_file(editor_graph), catalog.laid_out)
    scopes: list[Scope] = []
    words = Words(scopes, now or datetime.now().astimezone(), choose)
    opened = _open(file, catalog, scopes, words)
    active = [(graph, node) for graph in opened for node in graph.scope.nodes.values() if node.is_active]
    unknown = [(graph, node) for graph, node in active if node.kind is Kind.UNKNOWN]
    refuse_unknown(
        [refused(graph.path(node), node.type, node.saved.title, node.properties) for graph, node in unknown], catalog
    )
    sender = Sender(words)
    sent = {graph.path(node): _sent(sender, graph, node, catalog) for graph, node in active if node.kind is Kind.CLASS}
    refuse_browser_only(sender.refused)
    return sent


def _open(file: SavedFile, catalog: Catalog, scopes: list[Scope], words: Words) -> list[Opened]:
    """The root and everything inside of its boxes. Fills `scopes`, inner ones first."""
    saved = {definition.id: definition for definition in reversed(file.subgraphs)}
    places = {each.id: f"definitions.subgraphs[{number}]." for number, each in enumerate(file.subgraphs)}
    reader, definitions = Reader(catalog.laid_out, saved), dict[str, Scope]()
    for name in order_of(file.nodes, saved):
        each = saved[name]
        scope = reader.read(places[name], each.nodes, each.links, each.inputs or (), each.outputs or ())
        definitions[name] = _filled(scope, scopes, definitions, words)
    last = file.last_node_id if isinstance(file.last_node_id, int) else 0
    root = reader.read("", file.nodes, file.links, last=last)
    return open_all(_filled(root, scopes, definitions, words), definitions)


def _filled(scope: Scope, scopes: list[Scope], definitions: dict[str, Scope], words: Words) -> Scope:
    scopes.append(scope)
    fill_boxes(scope, definitions)
    promote(scope, definitions)
    feed_widgets(scope, words.replaced)
    return scope


def _sent(sender: Sender, graph: Opened, node: Node, catalog: Catalog) -> dict[str, Any]:
    return {
        "inputs": sender.inputs(graph, node),
        "class_type": node.type,
        "_meta": label_of(node, catalog.laid_out.of(node.type)),
    }
