"""Classes that ComfyUI has no more: another class replaces each, with other names for its inputs.

ComfyUI does the same with a prompt that it gets, but only where a replacement lists its inputs: of others it drops all
values, and then refuses the prompt. Here those keep theirs.

(Source: ComfyUI's app/node_replace_manager.py and comfy_extras/nodes_replacements.py. A replacement has the form of its
GET /node_replacements: {"new_node_id", "old_node_id", "old_widget_ids", "input_mapping": [{"new_id", "old_id" or
"set_value"}], "output_mapping": [{"new_idx", "old_idx"}]}; the last three may be null.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfyward.workflows.graph import CONTAINERS, Graph, is_link, parse_graph

Replacement = Mapping[str, Any]
Replacements = Mapping[str, list[dict[str, Any]]]
"""By the class that is gone; the first of a list counts."""


def replacement_of(class_type: str, replacements: Replacements, nodes: Mapping[str, Any]) -> Replacement | None:
    """The replacement of a class that ComfyUI lacks, if it has the other one."""
    found = replacements.get(class_type) if class_type not in nodes else None
    return found[0] if found and found[0]["new_node_id"] in nodes else None


def with_replacements(graph: Graph, replacements: Replacements, nodes: Mapping[str, Any]) -> Graph:
    """The graph without classes that are gone; itself if there are none."""
    found = {
        node_id: replacement
        for node_id, node in graph.nodes.items()
        if (replacement := replacement_of(node.class_type, replacements, nodes)) is not None
    }
    if not found:
        return graph
    return parse_graph({node_id: _replaced(node_id, node, found) for node_id, node in graph.prompt.items()})


def _replaced(node_id: str, node: dict[str, Any], found: Mapping[str, Replacement]) -> dict[str, Any]:
    inputs = {name: _moved(value, found) for name, value in (node.get("inputs") or {}).items()}
    replacement = found.get(node_id)
    if replacement is None:
        return {**node, "inputs": inputs}
    return {**node, "class_type": replacement["new_node_id"], "inputs": _renamed(inputs, replacement)}


def _moved(value: Any, found: Mapping[str, Replacement]) -> Any:
    """A link to an output of a class that is gone, as one to the same output of the class that replaces it."""
    if not isinstance(value, CONTAINERS) or not is_link(value) or value[0] not in found:
        return value
    for output in found[value[0]].get("output_mapping") or ():
        if output["old_idx"] == value[1]:
            return [value[0], output["new_idx"]]
    return value


def _renamed(inputs: dict[str, Any], replacement: Replacement) -> dict[str, Any]:
    mapping = replacement.get("input_mapping")
    if mapping is None:
        return inputs
    found = {}
    for each in mapping:
        if "set_value" in each:
            found[each["new_id"]] = each["set_value"]
        elif each.get("old_id") in inputs:
            found[each["new_id"]] = inputs[each["old_id"]]
    return found


def replaced_classes(replacements: Replacements, nodes: Mapping[str, Any]) -> dict[str, Any]:
    """Entries of /object_info for classes that are gone, as far as those tell that replace them, so that their nodes
    in the editor's files can be laid out."""
    found = {}
    for class_type in replacements:
        replacement = replacement_of(class_type, replacements, nodes)
        if replacement is not None:
            found[class_type] = _entry(nodes[replacement["new_node_id"]], replacement)
    return found


def _entry(new: Mapping[str, Any], replacement: Replacement) -> Mapping[str, Any]:
    mapping = replacement.get("input_mapping")
    if mapping is None:
        return new
    sections = new.get("input") or {}
    known = {**(sections.get("optional") or {}), **(sections.get("required") or {})}
    specs = {each["old_id"]: known.get(each["new_id"], ["*"]) for each in mapping if each.get("old_id")}
    widgets = {name: specs.get(name, ["STRING"]) for name in replacement.get("old_widget_ids") or ()}
    # A value of an input that grew or was chosen has no description of its own: any widget of one place holds it.
    widgets = {name: ["STRING"] if spec == ["*"] else spec for name, spec in widgets.items()}
    return {**new, "input": {"required": {**specs, **widgets}}, "input_order": {"required": [*widgets, *specs]}}
