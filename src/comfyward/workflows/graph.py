"""A graph in ComfyUI's API format: parsing, walking, description."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from comfyward.errors import InvalidGraph
from comfyward.python_json import is_deeper

MAX_NODES = 20_000
MAX_DEPTH = 64
CONTAINERS = (dict, list)
EXPORT = "Export the workflow with 'File > Export (API)'."


class Node(msgspec.Struct, frozen=True):
    id: str
    class_type: str
    inputs: dict[str, Any]
    title: str | None = None


class Text(msgspec.Struct, frozen=True):
    """A string in an input of a node; `is_nested` if it is inside an object or a list."""

    node: Node
    input_name: str
    value: str
    is_nested: bool = False


class Graph(msgspec.Struct, frozen=True):
    """A graph in ComfyUI's API format: {"node id": {"class_type", "inputs"}}.

    `prompt` is the graph as it was sent; `texts` are all texts in the inputs, those in objects and lists too.
    """

    prompt: dict[str, Any]
    nodes: dict[str, Node]
    texts: tuple[Text, ...]

    @classmethod
    def of(cls, prompt: dict[str, Any], nodes: dict[str, Node]) -> Graph:
        return cls(prompt, nodes, tuple(_texts_of(nodes.values())))

    def with_inputs(self, changed: Mapping[str, dict[str, Any]]) -> Graph:
        """The graph with other inputs of some nodes; itself when there are none."""
        if not changed:
            return self
        prompt = self.prompt | {node_id: {**self.prompt[node_id], "inputs": changed[node_id]} for node_id in changed}
        nodes = {node_id: msgspec.structs.replace(self.nodes[node_id], inputs=changed[node_id]) for node_id in changed}
        return Graph.of(prompt, self.nodes | nodes)

    def classes(self) -> list[str]:
        """The class names used, once each, sorted."""
        return sorted({node.class_type for node in self.nodes.values()})


def names_of(graph: Graph, classes: Mapping[str, str]) -> dict[str, str]:
    """Display names by node id: the title or the class's name in `classes`, numbered where several nodes share one.

    >>> names_of(parse_graph({"1": {"class_type": "Load"}, "2": {"class_type": "Load"}}), {"Load": "Load Image"})
    {'1': 'Load Image 1', '2': 'Load Image 2'}
    """
    nodes = graph.nodes.values()
    names = [(node.title or "").strip() or classes.get(node.class_type, node.class_type) for node in nodes]
    return dict(zip(graph.nodes, told_apart(names), strict=True))


def told_apart(names: Sequence[str]) -> list[str]:
    """The names, with a number added to each that occurs more than once."""
    counts, numbers = Counter(names), Counter[str]()
    taken = {name for name, count in counts.items() if count == 1}
    found = []
    for name in names:
        unique = name
        while counts[name] > 1 and (unique == name or unique in taken):
            numbers[name] += 1
            unique = f"{name} {numbers[name]}"
        taken.add(unique)
        found.append(unique)
    return found


def is_link(value: object) -> bool:
    """True if an input's value is a link to another node's output: [node id, slot]."""
    if not isinstance(value, list) or len(value) != 2 or not isinstance(value[0], str):
        return False
    return isinstance(value[1], int) or (isinstance(value[1], float) and value[1].is_integer())


def _texts_of(nodes: Iterable[Node]) -> Iterator[Text]:
    for node in nodes:
        for name, value in node.inputs.items():
            if isinstance(value, str):
                yield Text(node, name, value)
            elif isinstance(value, CONTAINERS) and not is_link(value):
                for inner in _texts_in(value):
                    yield Text(node, name, inner, is_nested=True)


def _texts_in(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for inner in value.values():
                yield from _texts_in(inner)
        case list():
            for inner in value:
                yield from _texts_in(inner)


def parse_graph(prompt: object) -> Graph:
    """Parses the graph in a request's `prompt`. Raises InvalidGraph if it is not in the API format."""
    if not isinstance(prompt, dict):
        raise InvalidGraph("'prompt' must be an object of nodes.", hint=EXPORT)
    if not prompt:
        raise InvalidGraph("The graph has no nodes.", hint=EXPORT, type="prompt_no_outputs")
    if len(prompt) > MAX_NODES:
        raise InvalidGraph(f"The graph has more than {MAX_NODES} nodes.")
    if is_deeper(prompt, MAX_DEPTH):
        raise InvalidGraph(f"The graph is nested deeper than {MAX_DEPTH} levels.")
    return Graph.of(prompt, {node_id: _parse_node(node_id, node) for node_id, node in prompt.items()})


def _parse_node(node_id: str, node: object) -> Node:
    if not isinstance(node, dict):
        raise InvalidGraph(f"Node '{node_id}' is not an object.", node_id=node_id)
    class_type, inputs = node.get("class_type"), node.get("inputs", {})
    title = _title_of(node["_meta"]) if "_meta" in node else None
    if not isinstance(class_type, str) or not class_type:
        what = f"Node '{node_id}' has no class_type."
        raise InvalidGraph(what, hint=EXPORT, type="missing_node_type", node_id=node_id, title=title)
    if not isinstance(inputs, dict):
        raise InvalidGraph(f"The inputs of node '{node_id}' ({class_type}) are not an object.", node_id=node_id)
    return Node(node_id, class_type, inputs, title)


def _title_of(meta: object) -> str | None:
    title = meta.get("title") if isinstance(meta, dict) else None
    return title if isinstance(title, str) else None


def only_for(prompt: dict[str, Any], targets: Sequence[str]) -> dict[str, Any]:
    """The part of a graph that some of its nodes depend on, including those nodes."""
    waiting, kept = [target for target in targets if target in prompt], dict[str, Any]()
    while waiting:
        node_id = waiting.pop()
        if node_id in kept:
            continue
        kept[node_id] = node = prompt[node_id]
        waiting += [needed for needed in _needed(node) if needed in prompt]
    return {node_id: node for node_id, node in prompt.items() if node_id in kept}


def in_order(prompt: dict[str, Any]) -> list[str]:
    """The nodes of a graph in its order, but each after those that it depends on."""
    done = dict[str, None]()
    for node_id in prompt:
        waiting, begun = [node_id], set[str]()
        while waiting:
            last = waiting[-1]
            needed = [each for each in _needed(prompt[last]) if each in prompt and each not in done]
            if last in begun or not needed:  # the second time, all that it depends on are done, or it goes in a circle
                done.setdefault(waiting.pop())
            else:
                begun.add(last)
                waiting += reversed(needed)
    return [*done]


def _needed(node: object) -> Iterator[str]:
    """The ids of the nodes that a node depends on."""
    inputs = node.get("inputs") if isinstance(node, dict) else None
    values = inputs.values() if isinstance(inputs, dict) else ()
    return (value[0] for value in values if is_link(value))


def describe(graph: Graph, extra_data: object, packs: dict[str, str]) -> dict[str, Any]:
    """A run's `metadata`, in ComfyICU's shape: packs, node classes, checkpoints, notes and groups.

    `packs` holds packs by class. Notes and groups come from the editor's graph in `extra_data`, if any.
    """
    editor, classes = editor_graph(extra_data), graph.classes()
    checkpoints = {text.value for text in graph.texts if text.input_name == "ckpt_name" and not text.is_nested}
    return {
        "extensions": sorted({packs.get(name, "comfyanonymous__ComfyUI") for name in classes}),
        "nodes": classes,
        "checkpoints": sorted(checkpoints),
        "notes": [{"text": text} for text in _notes(editor)],
        "groups": [group["title"] for group in _objects(editor.get("groups")) if isinstance(group.get("title"), str)],
    }


def editor_graph(extra_data: object) -> dict[str, Any]:
    """The editor's form of a submitted graph; empty if there is none."""
    for key in ("extra_pnginfo", "workflow"):
        extra_data = extra_data.get(key) if isinstance(extra_data, dict) else None
    return extra_data if isinstance(extra_data, dict) else {}


def _notes(editor: dict[str, Any]) -> Iterator[str]:
    for node in _objects(editor.get("nodes")):
        values = node.get("widgets_values")
        if node.get("type") in ("Note", "MarkdownNote") and isinstance(values, list):
            yield from (value for value in values[:1] if isinstance(value, str))


def _objects(values: object) -> Iterator[dict[str, Any]]:
    if isinstance(values, list):
        yield from (value for value in values if isinstance(value, dict))
