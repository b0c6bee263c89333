"""Whether a graph can run, decided before it is queued, in the words and shapes of ComfyUI's own answer.

Only what is certain is refused: an input that a class checks by its own code, or whose list is made while ComfyUI
runs, is left to ComfyUI. (Source of codes and messages: ComfyUI's execution.py, validate_prompt and validate_inputs.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from comfyward.errors import InvalidGraph
from comfyward.workflows.catalog import INPUT_FOLDER, Catalog, InputSpec
from comfyward.workflows.graph import Graph, Node, is_link

MAX_SHOWN = 20

Names = Mapping[str, set[str]]


@dataclass(frozen=True)
class Problem:
    """One thing wrong with one input of one node."""

    node: Node
    type: str  # ComfyUI's code, e.g. value_not_in_list
    message: str
    input_name: str | None = None
    received: Any = None
    accepted: Any = None
    folder: str | None = None

    def as_comfyui(self) -> dict[str, Any]:
        """The entry of `node_errors[...]["errors"]` that ComfyUI would give."""
        details = f"{self.input_name}" if self.input_name else f"Node ID '#{self.node.id}'"
        if self.type == "value_not_in_list":
            details = f"{self.input_name}: '{self.received}' not in {self.accepted}"
        extra = {"input_name": self.input_name, "received_value": self.received}
        return {
            "type": self.type,
            "message": self.message,
            "details": details,
            "extra_info": {key: value for key, value in extra.items() if value is not None},
        }

    def sentence(self) -> str:
        where = f"node {self.node.id} ({self.node.class_type})"
        return f"{self.message}: {where}" + (f", input '{self.input_name}'" if self.input_name else "")


@dataclass(frozen=True)
class Verdict:
    problems: list[Problem] = field(default_factory=list)

    def node_errors(self) -> dict[str, Any]:
        """ComfyUI's `node_errors` object."""
        errors: dict[str, Any] = {}
        for problem in self.problems:
            node = problem.node
            entry = errors.setdefault(node.id, {"errors": [], "dependent_outputs": [], "class_type": node.class_type})
            entry["errors"].append(problem.as_comfyui())
        return errors

    def raise_if_any(self) -> None:
        """Raises InvalidGraph naming the first problem, with all of them in its details."""
        if not self.problems:
            return
        first, more = self.problems[0], len(self.problems) - 1
        message = first.sentence() + (f" (and {more} more)" if more else "") + "."
        raise InvalidGraph(
            message,
            hint=_hint(first),
            type=first.type,
            node_id=first.node.id,
            class_type=first.node.class_type,
            input=first.input_name,
            received=first.received,
            accepted=first.accepted,
            node_errors=self.node_errors(),
        )


def check(graph: Graph, catalog: Catalog, brought: Names) -> Verdict:
    """Everything wrong with a graph. `brought` holds the file names that come with the run, by folder."""
    unknown = [
        Problem(node, "missing_node_type", f"{node.class_type} is not installed")
        for node in graph.nodes.values()
        if node.class_type not in catalog.nodes
    ]
    if unknown:
        return Verdict(unknown)
    outputs = [node for node in graph.nodes.values() if catalog.nodes[node.class_type].get("output_node")]
    if not outputs:
        raise InvalidGraph(
            "The graph has no output node, so nothing would be saved.",
            hint="Add a node that saves, such as SaveImage.",
            type="prompt_no_outputs",
            node_errors={},
        )
    problems: list[Problem] = []
    for node in _reachable(graph, outputs):
        problems.extend(_check_node(node, graph, catalog, brought))
    return Verdict(problems)


def _reachable(graph: Graph, outputs: list[Node]) -> Iterator[Node]:
    """The nodes that an output depends on: ComfyUI checks no others."""
    waiting, seen = [node.id for node in outputs], set[str]()
    while waiting:
        node_id = waiting.pop()
        if node_id in seen or node_id not in graph.nodes:
            continue
        seen.add(node_id)
        yield graph.nodes[node_id]
        waiting.extend(value[0] for value in graph.nodes[node_id].inputs.values() if is_link(value))


def _check_node(node: Node, graph: Graph, catalog: Catalog, brought: Names) -> Iterator[Problem]:
    for spec in catalog.inputs(node.class_type):
        if spec.name not in node.inputs:
            if spec.required:
                accepted = _accepted(spec, catalog, node, brought)
                yield Problem(node, "required_input_missing", "Required input is missing", spec.name, None, accepted)
            continue
        value = node.inputs[spec.name]
        problem = (
            _check_link(node, spec, value, graph, catalog)
            if isinstance(value, list)
            else _check_value(node, spec, value, catalog, brought)
        )
        if problem:
            yield problem


def _check_link(node: Node, spec: InputSpec, value: list[Any], graph: Graph, catalog: Catalog) -> Problem | None:
    if not is_link(value):
        message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
        return Problem(node, "bad_linked_input", message, spec.name, value)
    source = graph.nodes.get(value[0])
    if source is None:
        return Problem(node, "bad_linked_input", f"Link to node '{value[0]}', which does not exist", spec.name, value)
    types = catalog.nodes[source.class_type].get("output", [])
    slot = int(value[1])
    if not 0 <= slot < len(types):
        message = f"Link to output {slot} of {source.class_type}, which has {len(types)}"
        return Problem(node, "bad_linked_input", message, spec.name, value)
    if catalog.checks_itself(node.class_type, "input_types") or _types_meet(types[slot], spec.type):
        return None
    message = f"Return type mismatch between linked nodes ({types[slot]} given to {_type_name(spec)})"
    return Problem(node, "return_type_mismatch", message, spec.name, value, _type_name(spec))


def _types_meet(given: Any, wanted: Any) -> bool:
    if given == "*" or wanted == "*" or given == wanted:
        return True
    if not isinstance(given, str) or not isinstance(wanted, str):
        return True  # a combo given to a combo, or a type object of a custom node: left to ComfyUI
    if "COMBO" in (given, wanted) or wanted.startswith("COMFY_"):
        return True
    return bool({part.strip() for part in given.split(",")} & {part.strip() for part in wanted.split(",")})


def _type_name(spec: InputSpec) -> str:
    return spec.type if isinstance(spec.type, str) else "COMBO"


def _check_value(node: Node, spec: InputSpec, value: Any, catalog: Catalog, brought: Names) -> Problem | None:
    if isinstance(value, dict) and "__value__" in value:
        return None
    folder = catalog.folder(node.class_type, spec.name)
    if folder is not None:
        return _check_file(node, spec, value, folder, catalog, brought)
    if catalog.checks_itself(node.class_type, spec.name):
        return None
    if spec.choices is not None:
        return _check_choice(node, spec, value)
    if spec.type in ("INT", "FLOAT"):
        return _check_number(node, spec, value)
    return None


def _check_file(
    node: Node, spec: InputSpec, value: Any, folder: str, catalog: Catalog, brought: Names
) -> Problem | None:
    known = _known_files(spec, folder, catalog, brought)
    if not isinstance(value, str | int | float):
        return Problem(node, "invalid_input_type", "A file's name must be a text", spec.name, value, "STRING", folder)
    if value in known:
        return None
    if folder == INPUT_FOLDER:
        if not isinstance(value, str) or value.rstrip().endswith(("[output]", "[temp]")):
            return None
        if value.removesuffix(" [input]") in known:
            return None
    return Problem(
        node, "value_not_in_list", "Value not in list", spec.name, value, _shorten(sorted(known, key=str)), folder
    )


def _known_files(spec: InputSpec, folder: str, catalog: Catalog, brought: Names) -> set[Any]:
    own = set() if folder == INPUT_FOLDER else set(catalog.models.get(folder, ())) | set(spec.choices or ())
    return own | brought.get(folder, set())


def _check_choice(node: Node, spec: InputSpec, value: Any) -> Problem | None:
    if spec.options.get("remote") or spec.options.get("multiselect") or not spec.choices:
        return None
    if value in spec.choices:
        return None
    return Problem(node, "value_not_in_list", "Value not in list", spec.name, value, _shorten(spec.choices))


def _check_number(node: Node, spec: InputSpec, value: Any) -> Problem | None:
    try:
        number = int(value) if spec.type == "INT" else float(value)
    except (TypeError, ValueError, OverflowError):
        message = f"Failed to convert an input value to a {spec.type} value"
        return Problem(node, "invalid_input_type", message, spec.name, value, spec.type)
    low, high = spec.options.get("min"), spec.options.get("max")
    accepted = {"min": low, "max": high}
    if low is not None and number < low:
        message = f"Value {number} smaller than min of {low}"
        return Problem(node, "value_smaller_than_min", message, spec.name, value, accepted)
    if high is not None and number > high:
        message = f"Value {number} bigger than max of {high}"
        return Problem(node, "value_bigger_than_max", message, spec.name, value, accepted)
    return None


def _accepted(spec: InputSpec, catalog: Catalog, node: Node, brought: Names) -> Any:
    folder = catalog.folder(node.class_type, spec.name)
    if folder is not None:
        return _shorten(sorted(_known_files(spec, folder, catalog, brought), key=str))
    return _shorten(spec.choices) if spec.choices is not None else spec.type


def _shorten(values: list[Any]) -> list[Any]:
    return values[:MAX_SHOWN] + ([f"… {len(values) - MAX_SHOWN} more"] if len(values) > MAX_SHOWN else [])


def _hint(problem: Problem) -> str:
    match problem.type:
        case "missing_node_type":
            return "Use a class that GET /api/v1/nodes lists, or ask the operator to install the custom node."
        case "value_not_in_list" if problem.folder == INPUT_FOLDER:
            return f'Bring the file with the run: "files": {{"/input/{problem.received}": "https://…"}}.'
        case "value_not_in_list" if problem.folder is not None:
            path = f"/models/{problem.folder}/{problem.received}"
            return f'Nobody has this model. Bring it with the run: "files": {{"{path}": "https://…"}}.'
        case "value_not_in_list":
            return f"Accepted: {', '.join(map(str, problem.accepted))}."
        case "required_input_missing":
            return f"Give '{problem.input_name}' a value of {problem.accepted}."
        case "return_type_mismatch":
            return f"Link '{problem.input_name}' to an output of type {problem.accepted}."
        case _:
            return "Correct the input and submit again."
