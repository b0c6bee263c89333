"""The API's graph of a workflow in the editor's format: what the editor would send when Run is pressed there.

(Source of the rules: ComfyUI's editor, version 1.58. Tests compare with it, graph for graph.)
"""

from __future__ import annotations

import random
from datetime import datetime
from typing import Any

from comfyward.workflows.catalog import Catalog
from comfyward.workflows.conversion.boxes import Opened, open_all
from comfyward.workflows.conversion.labels import label_of
from comfyward.workflows.conversion.nodes import Kind, Node
from comfyward.workflows.conversion.primitives import feed_widgets
from comfyward.workflows.conversion.promotions import Promotion, fill_boxes, promotions_of
from comfyward.workflows.conversion.reading import read_scopes
from comfyward.workflows.conversion.refusals import refuse_browser_only, refuse_unknown, refused
from comfyward.workflows.conversion.scopes import Scope
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
    root, definitions = read_scopes(editor_graph, catalog.laid_out)
    words = Words([*definitions.values(), root], now or datetime.now().astimezone(), choose)
    opened = _open(root, definitions, words)
    active = [(graph, node) for graph in opened for node in graph.scope.nodes.values() if node.is_active]
    unknown = [(graph, node) for graph, node in active if node.kind is Kind.UNKNOWN]
    refuse_unknown(
        [refused(graph.path(node), node.type, node.saved.title, node.properties) for graph, node in unknown], catalog
    )
    sender = Sender(words)
    sent = {graph.path(node): _sent(sender, graph, node, catalog) for graph, node in active if node.kind is Kind.CLASS}
    refuse_browser_only(sender.refused)
    return sent


def _open(root: Scope, definitions: dict[str, Scope], words: Words) -> list[Opened]:
    """The root and everything inside of its boxes, with the values of boxes and primitives in place."""
    promotions: dict[str, list[Promotion | None]] = {}
    for name, scope in definitions.items():
        _fill(scope, promotions, words)
        promotions[name] = promotions_of(scope, promotions)
    _fill(root, promotions, words)
    return open_all(root, definitions, promotions)


def _fill(scope: Scope, promotions: dict[str, list[Promotion | None]], words: Words) -> None:
    fill_boxes(scope, promotions)
    feed_widgets(scope, words.replaced)


def _sent(sender: Sender, graph: Opened, node: Node, catalog: Catalog) -> dict[str, Any]:
    return {
        "inputs": sender.inputs(graph, node),
        "class_type": node.type,
        "_meta": label_of(node, catalog.laid_out.of(node.type)),
    }
