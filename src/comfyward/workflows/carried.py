"""The graphs that a file or a request carries: in the API's form, in the editor's, or both. Pure.

To run a file, the API's form is exact and wins; to edit it, the editor's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from comfyward.errors import InvalidGraph
from comfyward.python_json import NOT_JSON, read_answer, refuse_many
from comfyward.workflows.conversion.form import is_editor_graph
from comfyward.workflows.generation_parameters import graph_of_parameters
from comfyward.workflows.graph import Graph, parse_graph

NO_WORKFLOW = "There is no ComfyUI workflow in it."
EXPORT = "Save it again in ComfyUI: File > Save, or File > Export (API)."
CLIPPINGS = "Paste them into a workflow in ComfyUI's editor, and save that."
NODE_FIELDS = ("class_type", "inputs", "_meta")  # ComfyUI adds `is_changed` while it runs, and saves it in pictures
PLACES = ("prompt", "workflow", "extra_pnginfo", "extra_data", "metadata")  # of graphs within a document
PARAMETERS = "parameters"
LOOSE = ("comment", "metadata")  # texts that hold a document, or parameters, or nothing of ours


@dataclass(frozen=True)
class Carried:
    """A graph in the API's form, in the editor's, or both. `remarks` say what was not carried over, in sentences."""

    graph: dict[str, Any] | None = None
    editor_graph: dict[str, Any] | None = None
    remarks: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        return self.graph is None and self.editor_graph is None

    @property
    def to_run(self) -> dict[str, Any] | None:
        return self.graph if self.graph is not None else self.editor_graph

    @property
    def document(self) -> dict[str, Any]:
        """The forms that there are, as a document that holds both."""
        forms = {"prompt": self.graph, "workflow": self.editor_graph}
        return {name: form for name, form in forms.items() if form is not None}

    def with_more(self, other: Carried) -> Carried:
        """This, and of the other what this lacks."""
        return Carried(
            self.graph if self.graph is not None else other.graph,
            self.editor_graph if self.editor_graph is not None else other.editor_graph,
            self.remarks or other.remarks,
        )


def is_graph(document: object) -> bool:
    """True for a graph in the API's form."""
    nodes = document.values() if isinstance(document, dict) and document else (None,)
    return all(isinstance(node, dict) and isinstance(node.get("class_type"), str) for node in nodes)


def submitted(prompt: object) -> tuple[Graph | None, dict[str, Any] | None]:
    """(the API's form, the editor's) of what a request gives as its graph: one of them, or an object with both.

    Raises InvalidGraph; what is no graph of the editor's is taken for the API's, and said to be wrong as such.
    """
    if is_clippings(prompt):
        raise InvalidGraph("These are clippings of nodes, which is no workflow to run.", hint=CLIPPINGS)
    if _is_almost_a_graph(prompt):
        return parse_graph(prompt), None
    found = graphs_in(prompt)
    if found.graph is None and found.editor_graph is not None:
        return None, found.editor_graph
    return parse_graph(found.graph or prompt), found.editor_graph


def with_editor_graph(extra_data: Any, editor_graph: dict[str, Any] | None) -> Any:
    """A run's extra_data with the editor's graph, which ComfyUI then saves in pictures, unless it has one."""
    about = extra_data.get("extra_pnginfo") if isinstance(extra_data, dict) else None
    if editor_graph is None or (isinstance(about, dict) and about.get("workflow")):
        return extra_data
    about = {**(about if isinstance(about, dict) else {}), "workflow": editor_graph}
    return {**(extra_data if isinstance(extra_data, dict) else {}), "extra_pnginfo": about}


def graphs_in(document: object) -> Carried:
    """The graphs in a document, each told by its content, wherever in it they are; empty if there are none."""
    return _in(document, depth=len(PLACES))


def in_document(document: object) -> Carried:
    """The graphs in a document: a graph, a saved request, or an object with both. Raises InvalidGraph."""
    if is_clippings(document):
        raise InvalidGraph("These are clippings of nodes, which is no workflow to run.", hint=CLIPPINGS)
    found = graphs_in(document)
    if found.is_empty:
        if _is_almost_a_graph(document):
            parse_graph(document)
        raise InvalidGraph(NO_WORKFLOW, hint=EXPORT)
    if found.graph is not None:
        parse_graph(found.graph)
    return found


def _is_almost_a_graph(document: object) -> bool:
    nodes = document.values() if isinstance(document, dict) else ()
    return any(isinstance(node, dict) and "class_type" in node for node in nodes)


def is_clippings(document: object) -> bool:
    """True for a file of the editor's "node templates": pieces without a graph."""
    return isinstance(document, dict) and isinstance(document.get("templates"), list) and not is_editor_graph(document)


def in_text(text: str | bytes) -> Carried:
    """The graphs in JSON as ComfyUI and its packs write it. Raises InvalidGraph."""
    try:
        refuse_many(text)
        document = read_answer(text)
    except NOT_JSON as error:
        raise InvalidGraph(f"It is not JSON that can be read: {error}.", hint=EXPORT) from error
    return in_document(document)


def in_texts(texts: Mapping[str, str]) -> Carried:
    """The graphs in the texts that a file carries by name; empty if there are none.

    A text that another program wrote under such a name is passed over. Parameters of Stable Diffusion WebUI count if
    there is nothing else.
    """
    found = Carried()
    for text in _in_order(texts):
        try:
            found = found.with_more(in_text(text))
        except InvalidGraph:
            continue
    if found.is_empty:
        for name in (PARAMETERS, *LOOSE):
            if (made := graph_of_parameters(texts.get(name, ""))) is not None:
                return Carried(graph=made.graph, remarks=made.remarks)
    return found


def _in_order(texts: Mapping[str, str]) -> Iterator[str]:
    """A text may hold the other form than its name says, so all are looked at."""
    for name in ("prompt", "workflow", *LOOSE):
        if texts.get(name, "").lstrip()[:1] in ("{", '"'):
            yield texts[name]


def _in(document: object, depth: int) -> Carried:
    match document:
        case str() if depth and document.lstrip().startswith("{"):
            return _in(_read(document), depth - 1)
        case dict() if is_editor_graph(document):
            return Carried(editor_graph=document)
        case dict() if is_graph(document):
            return Carried(graph={node_id: _node(node) for node_id, node in document.items()})
        case dict() if depth:
            found = Carried()
            for place in PLACES:
                found = found.with_more(_in(document.get(place), depth - 1))
            return found
        case _:
            return Carried()


def _read(text: str) -> object:
    try:
        refuse_many(text)
        return read_answer(text)
    except NOT_JSON:
        return None


def _node(node: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in node.items() if name in NODE_FIELDS}
