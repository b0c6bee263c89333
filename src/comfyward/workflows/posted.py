"""A workflow's file in either form, as a graph of which the parts are known that a catalog knows. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from comfyward.errors import InvalidGraph, InvalidRequest
from comfyward.workflows.carried import Carried, graphs_in
from comfyward.workflows.catalog import Catalog
from comfyward.workflows.conversion.conversion import convert
from comfyward.workflows.conversion.outline import EditorNode, active_nodes
from comfyward.workflows.graph import Graph, Node, parse_graph
from comfyward.workflows.model_notes import NotesByName, by_name, notes_in, notes_on
from comfyward.workflows.needed import Written
from comfyward.workflows.noted import Noted, packs_noted

NEVER = 2  # the editor's mode of a node that is muted


@dataclass(frozen=True)
class Posted:
    """A workflow in the API's form, the editor's, or both. At least one is there."""

    prompt: dict[str, Any] | None = None
    editor: dict[str, Any] | None = None

    @classmethod
    def of(cls, *documents: dict[str, Any] | None) -> Posted:
        """The forms of a workflow, each told by its content; the first of each form counts, and one document may hold
        both. Raises InvalidRequest."""
        found = Carried()
        for each in documents:
            carried = graphs_in(each)
            found = found.with_more(Carried(graph=each) if carried.is_empty else carried)
        if found.is_empty:
            raise InvalidRequest("There is no workflow: send it as 'workflow' or 'prompt', in either form.")
        return cls(found.graph, found.editor_graph)


@dataclass(frozen=True)
class Opened:
    """The nodes of a posted workflow that take part, and what its file says of packs and models."""

    posted: Posted
    graph: Graph | None  # in the API's form, if that was posted
    nodes: Sequence[EditorNode]
    models: NotesByName
    packs: Mapping[str, Noted]

    @property
    def classes(self) -> set[str]:
        if self.graph is not None:
            return set(self.graph.classes())
        return {node.class_type for node in self.nodes}


def opened(posted: Posted) -> Opened:
    """Opens a workflow. Raises InvalidGraph."""
    graph = None if posted.prompt is None else parse_graph(posted.prompt)
    nodes = [] if posted.editor is None else active_nodes(posted.editor)
    return Opened(posted, graph, nodes, by_name(notes_in(posted.editor)), packs_noted(posted.editor))


def written(found: Opened, catalog: Catalog) -> tuple[Written, InvalidGraph | None]:
    """The graph of a workflow, and what keeps the editor's form from becoming one, classes that are missing aside."""
    notes = {node.path: notes for node in found.nodes if (notes := notes_on(node.properties))}
    titles = {node.path: node.title for node in found.nodes if node.title}
    if found.graph is not None:
        return Written(catalog.with_replacements(found.graph), titles, frozenset(), notes), None
    unknown = set(catalog.lacking(node.class_type for node in found.nodes))
    graph, refused = _converted(found.posted.editor or {}, unknown, catalog)
    unnamed = {node.path: _unnamed(node) for node in found.nodes if node.path not in graph.nodes}
    prompt = {path: {"class_type": node.class_type, "inputs": node.inputs} for path, node in unnamed.items()}
    whole = Graph.of({**graph.prompt, **prompt}, {**graph.nodes, **unnamed})
    return Written(whole, titles, frozenset(unnamed), notes), refused


def _converted(editor: dict[str, Any], unknown: Collection[str], catalog: Catalog) -> tuple[Graph, InvalidGraph | None]:
    """The graph of the nodes whose classes are known."""
    try:
        prompt = convert(without_classes(editor, unknown) if unknown else editor, catalog)
        return (catalog.with_replacements(parse_graph(prompt)) if prompt else Graph({}, {}, ())), None
    except InvalidGraph as error:
        return Graph({}, {}, ()), error


def _unnamed(node: EditorNode) -> Node:
    """A node of which only the values are known: they are numbered."""
    values = node.widget_values
    named = values.items() if isinstance(values, Mapping) else enumerate(values or ())
    return Node(node.path, node.class_type, {str(name): value for name, value in named}, node.title or None)


def without_classes(editor: dict[str, Any], classes: Collection[str]) -> dict[str, Any]:
    """A graph in the editor's form whose nodes of some classes are muted, wherever they are."""

    def muted(graph: Any) -> Any:
        nodes = graph.get("nodes") if isinstance(graph, dict) else None
        if not isinstance(nodes, list):
            return graph
        return {**graph, "nodes": [{**node, "mode": NEVER} if _is_of(node, classes) else node for node in nodes]}

    changed = muted(editor)
    definitions = editor.get("definitions")
    if isinstance(definitions, dict) and isinstance(subgraphs := definitions.get("subgraphs"), list):
        changed["definitions"] = {**definitions, "subgraphs": [_within(each, muted) for each in subgraphs]}
    extra = editor.get("extra")
    if isinstance(extra, dict) and isinstance(groups := extra.get("groupNodes"), dict):
        changed["extra"] = {**extra, "groupNodes": {name: muted(group) for name, group in groups.items()}}
    return dict(changed)


def _within(definition: Any, muted: Any) -> Any:
    """A definition with its nodes muted, and those of definitions inside it."""
    changed = muted(definition)
    inner = changed.get("definitions") if isinstance(changed, dict) else None
    if isinstance(inner, dict) and isinstance(subgraphs := inner.get("subgraphs"), list):
        return {**changed, "definitions": {**inner, "subgraphs": [muted(each) for each in subgraphs]}}
    return changed


def _is_of(node: Any, classes: Collection[str]) -> bool:
    return isinstance(node, dict) and isinstance(name := node.get("type"), str) and name in classes
