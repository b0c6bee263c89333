"""The named inputs of a graph: their types for forms, and the graph with other values. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from comfyward.errors import InvalidGraph, InvalidValue
from comfyward.workflows.catalog import INPUT_FOLDER, Catalog, InputSpec
from comfyward.workflows.graph import Graph, Node, is_link, names_of
from comfyward.workflows.listing import Paths
from comfyward.workflows.validation import check_file, known_files, number_of

Kind = Literal["text", "long text", "integer", "number", "switch", "choice", "colour", "file"]

# The inputs that somebody who has never seen the graph wants to change, in the order of a form.
_WANTED = ("text", "prompt", "image", "video", "audio", "seed", "noise_seed", "steps", "cfg", "width", "height")
# Strings that concern ComfyUI rather than the result.
_PLUMBING = ("filename_prefix",)
MAX_SHOWN = 8
_COLOUR = re.compile("#[0-9a-fA-F]{6}")


@dataclass(frozen=True)
class Input:
    """A plain value in a graph. `folder` is the folder of a file's name: "input", or a model folder.

    `is_here` is False for a file that a run would not find.
    """

    node_id: str
    name: str
    node: str  # its display name
    label: str
    kind: Kind
    value: Any
    choices: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    step: float | None = None
    folder: str | None = None
    is_here: bool = True

    @property
    def key(self) -> str:
        """Its name in forms and on the command line: `3.seed`."""
        return f"{self.node_id}.{self.name}"

    @property
    def shown(self) -> Any:
        """The value of its field in a form."""
        return f"#{self.value & 0xFFFFFF:06x}" if self.kind == "colour" and isinstance(self.value, int) else self.value

    @property
    def takes_upload(self) -> bool:
        return self.kind == "file" and self.folder == INPUT_FOLDER


def inputs_of(graph: Graph, catalog: Catalog | None, own: Paths | None = None) -> list[Input]:
    """All plain values of a graph, typed by the catalog, or by their value if it does not know them.

    `own` holds the files that the account can use by name.
    """
    found, names = [], names_of(graph, catalog.display_names if catalog else {})
    for node in graph.nodes.values():
        specs = _specs(node, catalog)
        for name, value in node.inputs.items():
            if not is_link(value) and isinstance(value, str | int | float | bool):
                found.append(_input(node, names[node.id], name, value, specs.get(name), catalog, own or Paths(())))
    return found


def shown_by_default(inputs: list[Input]) -> list[Input]:
    """The inputs that most people would change: prompts, files, seed, size."""

    def rank(each: Input) -> int | None:
        if each.takes_upload or each.kind == "colour":
            return _WANTED.index("image")
        if each.kind == "long text":
            return 0
        return _WANTED.index(each.name) if each.name in _WANTED else None

    ranked = [(rank(each), each) for each in inputs]
    wanted = sorted(((order, each) for order, each in ranked if order is not None), key=lambda pair: pair[0])
    rest = [each for order, each in ranked if order is None and each.name not in _PLUMBING]
    return [each for _, each in wanted][:MAX_SHOWN] or rest[:MAX_SHOWN]


def with_missing(shown: list[Input], inputs: list[Input]) -> list[Input]:
    """The inputs of a form, plus those whose file is missing: one has to be chosen before a run."""
    keys = {each.key for each in shown}
    return [*shown, *(each for each in inputs if not each.is_here and each.key not in keys)]


def chosen(inputs: list[Input], keys: Iterable[str]) -> list[Input]:
    """The inputs with these keys, in the keys' order; unknown keys are left out."""
    by_key = {each.key: each for each in inputs}
    return [by_key[key] for key in keys if key in by_key]


def with_values(prompt: Mapping[str, Any], values: Iterable[tuple[Input, Any]]) -> dict[str, Any]:
    """The graph with new values in some inputs."""
    changed = {node_id: dict(node) for node_id, node in prompt.items()}
    for each, value in values:
        node = changed[each.node_id]
        changed[each.node_id] = {**node, "inputs": {**node["inputs"], each.name: value}}
    return changed


def parse(each: Input, text: str) -> Any:
    """Parses a form's text as the input's type. Raises InvalidValue, naming the input."""
    try:
        match each.kind:
            case "integer":
                return _within(each, int(text.strip()))
            case "number":
                return _within(each, float(text.strip()))
            case "switch":
                return text in ("on", "true", "1")
            case "colour":
                return _colour(each, text.strip())
            case "choice":
                return next(choice for choice in each.choices if str(choice) == text)
            case _:
                return text.replace("\r\n", "\n")
    except (ValueError, StopIteration) as error:
        raise InvalidValue(f"'{each.label}' cannot be '{text[:80]}'.", input=each.key) from error


def _colour(each: Input, text: str) -> int | str:
    """A #rrggbb colour in the type that the graph uses: an integer or a string."""
    if not _COLOUR.fullmatch(text):
        raise ValueError(text)
    return int(text[1:], 16) if isinstance(each.value, int) else text


def refuse_unchosen(filled: Mapping[str, tuple[Input, Any]]) -> None:
    """Raises InvalidGraph if a file is not chosen: ComfyUI would read an empty name as the whole folder."""
    about: dict[str, Any] = {"type": "value_not_in_list", "received": "", "folder": INPUT_FOLDER}
    unchosen = [
        about | {"node_id": each.node_id, "node": each.node, "input": each.name}
        for each, value in filled.values()
        if each.takes_upload and value == "" and "" not in each.choices
    ]
    if unchosen:
        raise InvalidGraph("Choose a file for each empty input.", type=about["type"], problems=unchosen)


def _within(each: Input, number: float) -> float:
    if each.low is not None and number < each.low:
        raise InvalidValue(f"'{each.label}' must be at least {each.low:g}.", input=each.key)
    if each.high is not None and number > each.high:
        raise InvalidValue(f"'{each.label}' must be at most {each.high:g}.", input=each.key)
    return number


def _specs(node: Node, catalog: Catalog | None) -> dict[str, InputSpec]:
    if catalog is None or node.class_type not in catalog.nodes:
        return {}
    return {spec.name: spec for spec in catalog.inputs(node.class_type)}


def _input(
    node: Node, called: str, name: str, value: Any, spec: InputSpec | None, catalog: Catalog | None, own: Paths
) -> Input:
    plain = Input(node.id, name, called, f"{called}: {name.replace('_', ' ')}", _kind_of(value, {}), value)
    if spec is None or catalog is None:
        return plain
    folder = catalog.folder(node.class_type, name)
    if folder is not None:
        choices = tuple(sorted(known_files(node, spec, catalog, own), key=str))
        is_here = value != "" and check_file(node, spec, value, folder, catalog, own) is None
        return replace(plain, kind="file", choices=choices, folder=folder, is_here=is_here)
    if spec.choices:
        return replace(plain, kind="choice", choices=tuple(spec.choices))
    options = spec.options
    low, high, step = (number_of(options.get(bound)) for bound in ("min", "max", "step"))
    return replace(plain, kind=_kind_as(spec, value), low=low, high=high, step=step)


def _kind_as(spec: InputSpec, value: Any) -> Kind:
    match spec.type:
        case "INT" if spec.options.get("display") == "color":
            return "colour"
        case "COLOR" if _COLOUR.fullmatch(str(value)):
            return "colour"
        case "INT":
            return "integer"
        case "FLOAT":
            return "number"
        case "BOOLEAN":
            return "switch"
        case _:
            return _kind_of(value, spec.options)


def _kind_of(value: Any, options: Mapping[str, Any]) -> Kind:
    match value:
        case bool():
            return "switch"
        case int():
            return "integer"
        case float():
            return "number"
        case str() if options.get("multiline") or "\n" in value or len(value) > 60:
            return "long text"
        case _:
            return "text"
