"""Validation of a graph before it is queued, with ComfyUI's own codes and shapes.

A graph is refused only if ComfyUI is certain to refuse it. An input is left to ComfyUI if its class validates it with
its own code, if its list changes while ComfyUI runs, or if ComfyUI interprets its type (`COMFY_*`, `*`).
(Source of codes and messages: ComfyUI's execution.py, validate_prompt and validate_inputs.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import reduce
from graphlib import CycleError, TopologicalSorter
from operator import or_
from typing import Any

from comfyward.errors import InvalidGraph
from comfyward.paths import model_path
from comfyward.workflows.catalog import INPUT_FOLDER, Catalog, InputSpec
from comfyward.workflows.graph import Graph, Node, is_link, names_of
from comfyward.workflows.listing import Listing, Paths
from comfyward.workflows.offer import Offer
from comfyward.workflows.verdict import MAX_SHOWN, Problem, Verdict

MAX_QUOTED = 200  # characters of a value
MAX_TRACED = 100  # output nodes for which the nodes with problems are told that they need them
MAX_TOLD = 100_000  # characters of their ids in one answer
MAX_AROUND, MAX_PATH = 20, 2_000  # nodes of a cycle that are named (one that is drawn is shorter), and characters

Sources = dict[str, list[str]]  # ids of nodes by the id of the node that takes inputs from them


def check(graph: Graph, catalog: Catalog, brought: Paths) -> Verdict:
    """Validates a graph. `brought` holds the files of the run. Raises InvalidGraph if it has no output node."""
    names = names_of(graph, catalog.display_names)
    lacking = catalog.lacking(node.class_type for node in graph.nodes.values())
    if lacking:
        unknown = [node for node in graph.nodes.values() if node.class_type in set(lacking)]
        offers = catalog.elsewhere.known(lacking)
        return Verdict(names, [_unknown_class(node, catalog, offers.get(node.class_type, ())) for node in unknown])
    outputs = [node for node in graph.nodes.values() if catalog.may_be_output(node.class_type)]
    if not outputs:
        raise InvalidGraph(
            "The graph has no output node, so nothing would be saved.",
            hint="Add a node that saves, such as SaveImage.",
            type="prompt_no_outputs",
            node_errors={},
        )
    sources = _sources_below(graph, outputs, catalog)
    checked = [graph.nodes[node_id] for node_id in sources]
    problems = list(_cycle_among(checked, graph, catalog))
    for node in checked:
        problems.extend(_check_node(node, graph, catalog, brought))
    return Verdict(names, problems, _dependents(problems, outputs, sources) if problems else {})


def _dependents(problems: list[Problem], outputs: list[Node], sources: Sources) -> dict[str, list[str]]:
    """By the id of each node with problems: the output nodes that depend on it, as many as MAX_TOLD allows."""
    traced = [output.id for output in outputs[:MAX_TRACED]]
    masks = _masks(traced, sources)
    found = dict.fromkeys(problem.node.id for problem in problems)
    room = MAX_TOLD // (len(found) * max(map(len, traced), default=0) or 1)
    return {
        node_id: [output for bit, output in enumerate(traced) if masks[node_id] >> bit & 1][:room] for node_id in found
    }


def _masks(outputs: list[str], sources: Sources) -> dict[str, int]:
    """By node id: a bit for each of the output nodes that depend on it."""
    masks = dict.fromkeys(sources, 0) | {output: 1 << bit for bit, output in enumerate(outputs)}
    for members in _dependents_first(sources):
        mask = reduce(or_, (masks[node_id] for node_id in members))
        for node_id in members:
            masks[node_id] = mask
            for source in sources[node_id]:
                masks[source] |= mask
    return masks


def _dependents_first(sources: Sources) -> Iterator[list[str]]:
    """All nodes, each before those that it depends on; nodes that depend on each other come together.

    (Kosaraju's algorithm: https://en.wikipedia.org/wiki/Kosaraju%27s_algorithm)
    """
    users: dict[str, list[str]] = {node_id: [] for node_id in sources}
    for node_id, found in sources.items():
        for source in found:
            users[source].append(node_id)
    seen = set[str]()
    for start in reversed(_sources_first(sources)):
        waiting, members = [start], list[str]()
        while waiting:
            node_id = waiting.pop()
            if node_id not in seen:
                seen.add(node_id)
                members.append(node_id)
                waiting.extend(users[node_id])
        if members:
            yield members


def _sources_first(sources: Sources) -> list[str]:
    """All nodes in the order in which a depth-first walk leaves them."""
    left, seen = list[str](), set[str]()
    waiting = [(node_id, False) for node_id in sources]
    while waiting:
        node_id, is_left = waiting.pop()
        if is_left:
            left.append(node_id)
        elif node_id not in seen:
            seen.add(node_id)
            waiting.append((node_id, True))
            waiting.extend((source, False) for source in sources[node_id])
    return left


def _unknown_class(node: Node, catalog: Catalog, offers: tuple[Offer, ...]) -> Problem:
    message = f"{node.class_type} is not installed"
    why = catalog.why_missing(node.class_type) or (offers[0].sentence if offers else None)
    return Problem(node, "missing_node_type", f"{message}: {why}" if why else message, offers=offers)


def reachable(graph: Graph, outputs: list[Node], catalog: Catalog) -> Iterator[Node]:
    """The nodes that an output node depends on by declared inputs: ComfyUI checks no others."""
    return (graph.nodes[node_id] for node_id in _sources_below(graph, outputs, catalog))


def _sources_below(graph: Graph, outputs: list[Node], catalog: Catalog) -> Sources:
    """By the id of each output node and each node that one depends on: the nodes that its declared inputs link to."""
    waiting, found = [node.id for node in outputs], dict[str, list[str]]()
    while waiting:
        node_id = waiting.pop()
        if node_id not in found:
            found[node_id] = list(_sources(graph.nodes[node_id], graph, catalog))
            waiting.extend(found[node_id])
    return found


def _sources(node: Node, graph: Graph, catalog: Catalog) -> Iterator[str]:
    """The ids of the nodes that a node's declared inputs link to."""
    declared = {spec.name for spec in catalog.inputs(node.class_type)}
    for name, value in node.inputs.items():
        # A growing input is sent as `images.image0`.
        if is_link(value) and value[0] in graph.nodes and name.partition(".")[0] in declared:
            yield value[0]


def _cycle_among(nodes: list[Node], graph: Graph, catalog: Catalog) -> Iterator[Problem]:
    """A problem for each node of the first dependency cycle over plain inputs, or for MAX_AROUND of them.

    Each problem names the others, so that all nodes of a long cycle would make an answer of their number's square.
    """
    try:
        TopologicalSorter({node.id: list(_waits_for(node, catalog)) for node in nodes}).prepare()
    except CycleError as error:
        around = [graph.nodes[node_id] for node_id in error.args[1][: MAX_AROUND + 1]]
        path = " -> ".join(f"{node.id} ({node.class_type})" for node in around)
        path = path if len(path) <= MAX_PATH else f"{path[:MAX_PATH]}…"
        ids = [node.id for node in around[1:] if len(node.id) <= MAX_PATH]
        for node in around[1:]:
            about = {"node_id": node.id, "cycle_nodes": ids}
            yield Problem(node, "dependency_cycle", "Dependency cycle detected", None, path, details=path, more=about)


def _waits_for(node: Node, catalog: Catalog) -> Iterator[str]:
    for spec in catalog.inputs(node.class_type):
        value = node.inputs.get(spec.name)
        if isinstance(value, list) and is_link(value) and not _is_interpreted(spec.type):
            yield value[0]


def _check_node(node: Node, graph: Graph, catalog: Catalog, brought: Paths) -> Iterator[Problem]:
    for spec in catalog.inputs(node.class_type):
        if spec.name not in node.inputs:
            if spec.required and not _is_interpreted(spec.type):
                accepted = _accepted(spec, catalog, node, brought)
                yield Problem(node, "required_input_missing", "Required input is missing", spec.name, None, accepted)
            continue
        if _is_interpreted(spec.type):
            continue
        value = node.inputs[spec.name]
        problem = (
            _check_link(node, spec, value, graph, catalog)
            if isinstance(value, list)
            else _check_value(node, spec, value, catalog, brought)
        )
        if problem:
            yield replace(problem, spec=spec)


def _check_link(node: Node, spec: InputSpec, value: list[Any], graph: Graph, catalog: Catalog) -> Problem | None:
    if not is_link(value):
        message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
        return Problem(node, "bad_linked_input", message, spec.name, value)
    source = graph.nodes.get(value[0])
    if source is None:
        return Problem(node, "bad_linked_input", f"Link to node '{value[0]}', which does not exist", spec.name, value)
    types = catalog.outputs(source.class_type)
    if types is None:
        return None
    slot = int(value[1])
    if not -len(types) <= slot < len(types):
        message = f"Link to output {slot} of {source.class_type}, which has {len(types)}"
        return Problem(node, "bad_linked_input", message, spec.name, value)
    if catalog.checks_itself(node.class_type, "input_types") or _types_meet(types[slot], spec.type):
        return None
    return _mismatch(node, spec, value, types[slot])


def _mismatch(node: Node, spec: InputSpec, value: list[Any], given: Any) -> Problem:
    wanted = _type_name(spec)
    return Problem(
        node,
        "return_type_mismatch",
        "Return type mismatch between linked nodes",
        spec.name,
        value,
        wanted,
        because=f"{given} given to {wanted}",
        details=f"{spec.name}, received_type({given}) mismatch input_type({wanted})",
        more={"received_type": given, "linked_node": value},
    )


def _types_meet(given: Any, wanted: Any) -> bool:
    if not isinstance(given, str) or not isinstance(wanted, str):
        return True  # a combo given to a combo, or a type object of a custom node: left to ComfyUI
    givens, wanteds = ({part.strip() for part in type_.split(",")} for type_ in (given, wanted))
    return bool(givens & wanteds) or any(_is_open(part) for part in givens | wanteds)


def _is_open(type_: Any) -> bool:
    """True if a type also accepts types with other names."""
    return isinstance(type_, str) and (type_ in ("*", "COMBO", "") or _is_interpreted(type_))


def _is_interpreted(type_: Any) -> bool:
    """True if ComfyUI expands an input of this type into others: a growing list, or one that depends on a choice."""
    return isinstance(type_, str) and type_.startswith("COMFY_")


def _type_name(spec: InputSpec) -> str:
    return spec.type if isinstance(spec.type, str) else "COMBO"


def _check_value(node: Node, spec: InputSpec, value: Any, catalog: Catalog, brought: Paths) -> Problem | None:
    if isinstance(value, dict) and "__value__" in value:
        return None
    folder = catalog.folder(node.class_type, spec.name)
    if folder is not None:
        return check_file(node, spec, value, folder, catalog, brought)
    if catalog.checks_itself(node.class_type, spec.name):
        return None
    if spec.choices is not None:
        return None if catalog.lists_change(node.class_type, brought) else _check_choice(node, spec, value, catalog)
    if spec.type in ("INT", "FLOAT"):
        return _check_number(node, spec, value)
    return None


def check_file(
    node: Node, spec: InputSpec, value: Any, folder: str, catalog: Catalog, brought: Paths
) -> Problem | None:
    """The problem with the file that an input names; None if it is valid."""
    if _is_left_to_comfyui(node, spec, value, catalog, brought):
        return None
    known = known_files(node, spec, catalog, brought)
    if not isinstance(value, str | int | float):
        return Problem(node, "invalid_input_type", "A file name must be a string", spec.name, value, "STRING", folder)
    if value in known:
        return None
    if folder == INPUT_FOLDER and isinstance(value, str) and _is_brought(value.removesuffix(" [input]"), brought):
        return None
    accepted, place = _shorten(sorted(known, key=str)), _usual_place(node, spec, value, folder, catalog)
    return Problem(
        node, "value_not_in_list", "Value not in list", spec.name, value, accepted, folder, place, count=len(known)
    )


def _is_brought(name: str, brought: Paths) -> bool:
    """True if a file of this name is below input/, or a folder, which ComfyUI accepts too."""
    place = next(iter(Listing(INPUT_FOLDER).paths_of(name)), f"/{INPUT_FOLDER}")
    is_root = place == f"/{INPUT_FOLDER}" and not name.strip("./")
    return is_root or place in brought or bool(place.count("/") > 1 and brought.below(place.strip("/")))


def _usual_place(node: Node, spec: InputSpec, value: Any, folder: str, catalog: Catalog) -> str | None:
    """The most usual path for a file of this name."""
    places = catalog.places(node.class_type, spec.name, str(value))
    return min(
        places,
        key=lambda path: (not path.startswith(model_path(f"{folder}/")), not path.endswith(".safetensors"), path),
        default=None,
    )


def _is_left_to_comfyui(node: Node, spec: InputSpec, value: Any, catalog: Catalog, brought: Paths) -> bool:
    """True if only ComfyUI can tell whether a file name is valid: the class checks it, or its list may change."""
    if catalog.lists_change(node.class_type, brought):
        return True
    if catalog.checks_itself(node.class_type, spec.name):
        # ComfyUI's own nodes check only that the file exists.
        if not catalog.is_core(node.class_type) or not isinstance(value, str):
            return True
    elif not _is_compared(node, spec, catalog):
        return True
    return isinstance(value, str) and value.startswith("/")  # a path on the worker


def _is_compared(node: Node, spec: InputSpec, catalog: Catalog) -> bool:
    """True if ComfyUI checks a value against the input's choices."""
    if catalog.checks_itself(node.class_type, spec.name) or spec.options.get("remote"):
        return False
    return isinstance(spec.type, list) or (spec.type == "COMBO" and catalog.checks_combos)


def known_files(node: Node, spec: InputSpec, catalog: Catalog, brought: Paths) -> set[Any]:
    """The file names that an input accepts."""
    own = {choice for choice in spec.choices or () if isinstance(choice, str)}
    return own | brought.offered(catalog.listings_of(node.class_type, spec.name))


def _check_choice(node: Node, spec: InputSpec, value: Any, catalog: Catalog) -> Problem | None:
    if not spec.choices or spec.options.get("multiselect") or not _is_compared(node, spec, catalog):
        return None
    if value in spec.choices:
        return None
    accepted, count = _shorten(spec.choices), len(spec.choices)
    return Problem(node, "value_not_in_list", "Value not in list", spec.name, value, accepted, count=count)


def _check_number(node: Node, spec: InputSpec, value: Any) -> Problem | None:
    try:
        number = int(value) if spec.type == "INT" else float(value)
    except (TypeError, ValueError, OverflowError) as error:
        message, why = f"Failed to convert an input value to a {spec.type} value", str(error)[:MAX_QUOTED]
        details, more = f"{spec.name}, {str(value)[:MAX_QUOTED]}, {why}", {"exception_message": why}
        return Problem(node, "invalid_input_type", message, spec.name, value, spec.type, details=details, more=more)
    low, high = (number_of(spec.options.get(bound)) for bound in ("min", "max"))
    accepted = {"min": low, "max": high}
    if low is not None and number < low:
        message = f"Value {number} smaller than min of {low}"
        return Problem(node, "value_smaller_than_min", message, spec.name, value, accepted)
    if high is not None and number > high:
        message = f"Value {number} bigger than max of {high}"
        return Problem(node, "value_bigger_than_max", message, spec.name, value, accepted)
    return None


def number_of(value: Any) -> float | None:
    """A bound of an input; None if it is not a number."""
    return value if isinstance(value, int | float) else None


def _accepted(spec: InputSpec, catalog: Catalog, node: Node, brought: Paths) -> Any:
    folder = catalog.folder(node.class_type, spec.name)
    if folder is not None:
        return _shorten(sorted(known_files(node, spec, catalog, brought), key=str))
    return _shorten(spec.choices) if spec.choices is not None else spec.type


def _shorten(values: list[Any]) -> list[Any]:
    return values[:MAX_SHOWN] + ([f"… {len(values) - MAX_SHOWN} more"] if len(values) > MAX_SHOWN else [])
