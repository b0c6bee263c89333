"""The editor's file as it was saved, read strictly: what has a wrong type is refused with its place.

(Format: version 0.4 of the editor's, whose links are lists at the root and objects in subgraphs, and version 1, whose
links are objects everywhere. What only draws, such as positions, groups and the points of links, is not read.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from comfyward.errors import InvalidGraph
from comfyward.workflows.class_inputs import type_name
from comfyward.workflows.graph import MAX_NODES

MAX_LINKS = 5 * MAX_NODES
MAX_SLOTS = 10 * MAX_NODES  # of all nodes together, in and out
INNER_INPUTS, INNER_OUTPUTS = "-10", "-20"  # ids that stand for a definition's own sides in its links
EXPORT = "Save it again in ComfyUI's editor with File > Export."
_PLACE = re.compile(r" - at `\$\.?(.*)`$")

Id = (
    Annotated[int, Meta(ge=-(2**53), le=2**53)]
    | Annotated[float, Meta(ge=-(2.0**53), le=2.0**53)]
    | Annotated[str, Meta(max_length=100)]
)
T = TypeVar("T")


class SavedInput(msgspec.Struct, gc=False):
    name: str = ""
    type: Any = None
    link: Id | None = None
    widget: Any = None

    @property
    def widget_name(self) -> str | None:
        name = self.widget.get("name") if isinstance(self.widget, dict) else None
        return name if isinstance(name, str) else None


class SavedOutput(msgspec.Struct, gc=False):
    type: Any = None


class SavedNode(msgspec.Struct, gc=False):
    type: str
    id: Id = -1
    mode: Any = 0
    inputs: list[SavedInput] | None = None
    outputs: list[SavedOutput] | None = None
    widgets_values: list[Any] | dict[str, Any] | None = None
    properties: dict[str, Any] | None = None
    title: Any = None


class SavedLink(msgspec.Struct, gc=False):
    id: Id
    origin_id: Id
    origin_slot: int
    target_id: Id
    target_slot: int
    type: Any = None


class SavedSlot(msgspec.Struct, gc=False):
    """An input or output of a definition."""

    name: str = ""
    type: Any = None
    linkIds: list[Id] | None = None


class SavedDefinition(msgspec.Struct):
    id: str
    nodes: list[SavedNode] = []
    links: list[SavedLink | None] | None = None
    inputs: list[SavedSlot] | None = None
    outputs: list[SavedSlot] | None = None
    name: str | None = None
    extra: Any = None


class SavedDefinitions(msgspec.Struct):
    subgraphs: list[SavedDefinition] | None = None


class SavedGroup(msgspec.Struct):
    """The content of a group node; its nodes are known by their place in the list."""

    nodes: list[SavedNode] = []
    links: list[list[Any]] | None = None  # [from, slot, to, slot, id, type]
    external: list[list[Any]] | None = None  # [node, slot, type]
    config: dict[str, Any] | None = None

    @property
    def slots(self) -> int:
        """The number of its links, and of the slots of its nodes."""
        slots = sum(len(node.inputs or ()) + len(node.outputs or ()) for node in self.nodes)
        return len(self.links or ()) + len(self.external or ()) + slots


class SavedFile(msgspec.Struct):
    nodes: list[SavedNode]
    links: list[SavedLink | list[Any] | None] | None = None
    definitions: SavedDefinitions | None = None
    extra: Any = None
    last_node_id: Any = 0

    @property
    def subgraphs(self) -> list[SavedDefinition]:
        return (self.definitions and self.definitions.subgraphs) or []

    @property
    def group_nodes(self) -> dict[str, Any]:
        found = self.extra.get("groupNodes") if isinstance(self.extra, dict) else None
        return found if isinstance(found, dict) else {}


def is_editor_graph(document: object) -> bool:
    """True if a JSON document is a workflow in the editor's format."""
    return isinstance(document, dict) and isinstance(document.get("nodes"), list)


def read_file(document: object) -> SavedFile:
    """The file in a JSON document. Raises InvalidGraph, naming the place of what is wrong."""
    if not is_editor_graph(document):
        raise InvalidGraph("This is not a workflow in the editor's format: it has no list 'nodes'.", hint=EXPORT)
    _refuse_many(document)
    return _converted(document, SavedFile, "")


def read_group(content: Any, place: str) -> SavedGroup:
    """The content of a group node. Raises InvalidGraph, naming the place of what is wrong."""
    return _converted(content, SavedGroup, place)


def _converted(value: Any, form: type[T], place: str) -> T:
    try:
        return msgspec.convert(value, form)
    except msgspec.ValidationError as error:
        found = _PLACE.search(str(error))
        where = ".".join(part for part in (place, found[1] if found else "") if part)
        what = _PLACE.sub("", str(error)).replace("`", "'")
        message = f"The workflow is damaged at '{where}': {what}." if where else f"The workflow is damaged: {what}."
        raise InvalidGraph(message, hint=EXPORT, place=where) from error


def links_of(links: list[SavedLink | list[Any] | None] | list[SavedLink | None] | None, place: str) -> list[SavedLink]:
    """The links of a graph in one form. Raises InvalidGraph for a list that is none."""
    found = []
    for number, link in enumerate(links or ()):
        match link:
            case None:
                continue
            case SavedLink():
                found.append(link)
            case [int() | str() | float(), int() | str() | float(), int(), int() | str() | float(), int(), *_]:
                found.append(SavedLink(*link[:6]))
            case _:
                where = f"{place}links[{number}]"
                message = f"The workflow is damaged at '{where}': a link is [id, from, slot, to, slot, type]."
                raise InvalidGraph(message, hint=EXPORT, place=where)
    return found


def text_of(id: Id | None) -> str:
    """The id as the editor writes it: 5.0 is 5."""
    if isinstance(id, float) and id.is_integer():
        return str(int(id))
    return str(id)


def socket_type(value: Any) -> str:
    """The type of a saved slot; 0 and -1 are old forms of any type."""
    return type_name(value) if not isinstance(value, int) else "*"


def _refuse_many(document: Any) -> None:
    """Raises InvalidGraph for a file with more nodes, links or slots than any graph has, before they are read."""
    counts = {"nodes": 0, "links": 0, "slots": 0}
    most = {"nodes": MAX_NODES, "links": MAX_LINKS, "slots": MAX_SLOTS}
    for place, graph in _graphs(document):
        for kind in ("nodes", "links"):
            found = graph.get(kind)
            counts[kind] += len(found) if isinstance(found, list | dict) else 0
            if counts[kind] > most[kind]:
                message = f"The workflow has more than {most[kind]} {kind}, counted to '{place}{kind}'."
                raise InvalidGraph(message, place=f"{place}{kind}")
        nodes = graph.get("nodes")
        for number, node in enumerate(nodes if isinstance(nodes, list) else ()):
            for side in ("inputs", "outputs"):
                found = node.get(side) if isinstance(node, dict) else None
                counts["slots"] += len(found) if isinstance(found, list) else 0
            if counts["slots"] > most["slots"]:
                where = f"{place}nodes[{number}]"
                raise InvalidGraph(f"The workflow has more than {MAX_SLOTS} slots, counted to '{where}'.", place=where)


def _graphs(document: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """The root and the definitions, each with its place in the file."""
    yield "", document
    definitions = document.get("definitions")
    subgraphs = definitions.get("subgraphs") if isinstance(definitions, dict) else None
    if not isinstance(subgraphs, list):
        return
    if len(subgraphs) > MAX_NODES:
        raise InvalidGraph(
            f"The workflow has more than {MAX_NODES} definitions of subgraphs.", place="definitions.subgraphs"
        )
    for number, subgraph in enumerate(subgraphs):
        if isinstance(subgraph, dict):
            yield f"definitions.subgraphs[{number}].", subgraph
