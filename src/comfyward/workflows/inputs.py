"""The inputs of a graph by name: what a form shows of them, and the graph with other values in them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from comfyward.errors import InvalidRequest
from comfyward.workflows.catalog import INPUT_FOLDER, Catalog, InputSpec
from comfyward.workflows.graph import Graph, Node, is_link
from comfyward.workflows.listing import Paths

Kind = Literal["text", "long text", "integer", "number", "switch", "choice", "file"]

# What somebody who never saw the graph wants to change, in the order in which a form shows it.
_WANTED = ("text", "prompt", "image", "video", "audio", "seed", "noise_seed", "steps", "cfg", "width", "height")
# Texts that name places in ComfyUI rather than what to make.
_PLUMBING = ("filename_prefix",)
MAX_SHOWN = 8


@dataclass(frozen=True)
class Input:
    """A plain value in a graph. `folder` is where a file's name comes from: "input", or a model folder."""

    node_id: str
    name: str
    label: str
    kind: Kind
    value: Any
    choices: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    step: float | None = None
    folder: str | None = None

    @property
    def key(self) -> str:
        """How a form and a command line name it: `3.seed`."""
        return f"{self.node_id}.{self.name}"

    @property
    def takes_upload(self) -> bool:
        return self.kind == "file" and self.folder == INPUT_FOLDER


def inputs_of(graph: Graph, catalog: Catalog | None, own: Paths | None = None) -> list[Input]:
    """Every plain value of a graph, typed as the catalog says, else as the value itself looks.

    `own` holds the files that the account can use by name.
    """
    found = []
    for node in graph.nodes.values():
        specs = _specs(node, catalog)
        for name, value in node.inputs.items():
            if not is_link(value) and isinstance(value, str | int | float | bool):
                found.append(_input(node, name, value, specs.get(name), catalog, own or Paths(())))
    return found


def shown_by_default(inputs: list[Input]) -> list[Input]:
    """The inputs that most people would change: prompts, files, seed, size."""

    def rank(each: Input) -> int | None:
        if each.takes_upload:
            return _WANTED.index("image")
        if each.kind == "long text":
            return 0
        return _WANTED.index(each.name) if each.name in _WANTED else None

    ranked = [(rank(each), each) for each in inputs]
    wanted = sorted(((order, each) for order, each in ranked if order is not None), key=lambda pair: pair[0])
    rest = [each for order, each in ranked if order is None and each.name not in _PLUMBING]
    return [each for _, each in wanted][:MAX_SHOWN] or rest[:MAX_SHOWN]


def chosen(inputs: list[Input], keys: Iterable[str]) -> list[Input]:
    """Those inputs that some keys name, in the keys' order; keys of inputs that are gone are left out."""
    by_key = {each.key: each for each in inputs}
    return [by_key[key] for key in keys if key in by_key]


def with_values(prompt: Mapping[str, Any], values: Iterable[tuple[Input, Any]]) -> dict[str, Any]:
    """The graph with other values in some of its inputs."""
    changed = {node_id: dict(node) for node_id, node in prompt.items()}
    for each, value in values:
        node = changed[each.node_id]
        changed[each.node_id] = {**node, "inputs": {**node["inputs"], each.name: value}}
    return changed


def parse(each: Input, text: str) -> Any:
    """What somebody typed, as the input's own type. Raises InvalidRequest naming the input."""
    try:
        match each.kind:
            case "integer":
                return _within(each, int(text.strip()))
            case "number":
                return _within(each, float(text.strip()))
            case "switch":
                return text in ("on", "true", "1")
            case "choice":
                return next(choice for choice in each.choices if str(choice) == text)
            case _:
                return text.replace("\r\n", "\n")
    except (ValueError, StopIteration) as error:
        raise InvalidRequest(f"'{each.label}' cannot be '{text[:80]}'.", input=each.key) from error


def _within(each: Input, number: float) -> float:
    if each.low is not None and number < each.low:
        raise InvalidRequest(f"'{each.label}' must be at least {each.low:g}.", input=each.key)
    if each.high is not None and number > each.high:
        raise InvalidRequest(f"'{each.label}' must be at most {each.high:g}.", input=each.key)
    return number


def _specs(node: Node, catalog: Catalog | None) -> dict[str, InputSpec]:
    if catalog is None or node.class_type not in catalog.nodes:
        return {}
    return {spec.name: spec for spec in catalog.inputs(node.class_type)}


def _input(
    node: Node,
    name: str,
    value: Any,
    spec: InputSpec | None,
    catalog: Catalog | None,
    own: Paths,
) -> Input:
    label = f"{node.title or node.class_type}: {name.replace('_', ' ')}"
    folder = catalog.folder(node.class_type, name) if catalog else None
    if folder is not None and catalog is not None:
        offered = own.offered(catalog.listings_of(node.class_type, name))
        names = {*offered, *((spec and spec.choices) or ()), value}
        return Input(node.id, name, label, "file", value, tuple(sorted(names, key=str)), folder=folder)
    if spec is None:
        return Input(node.id, name, label, _kind_of(value, {}), value)
    if spec.choices:
        return Input(node.id, name, label, "choice", value, tuple(spec.choices))
    options = spec.options
    kind = {"INT": "integer", "FLOAT": "number", "BOOLEAN": "switch"}.get(str(spec.type)) or _kind_of(value, options)
    low, high, step = (options.get(bound) for bound in ("min", "max", "step"))
    return Input(node.id, name, label, kind, value, (), low, high, step)  # type: ignore[arg-type]


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
