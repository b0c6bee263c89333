"""The changes of another ComfyUI for graphs: classes that come and go, inputs that change, and who uses them."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from comfyward.workflows.catalog import Catalog, InputSpec

MAX_NODES = 10_000


@dataclass(frozen=True)
class InputChange:
    """An input that is added (`before` is None), removed (`after` is None), or has another type."""

    class_type: str
    input: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class ClassChanges:
    """The differences of two catalogs, each in the order of names."""

    gained: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    inputs: tuple[InputChange, ...] = ()


def class_changes(before: Catalog, after: Catalog) -> ClassChanges:
    """The changes from one catalog to another."""
    return ClassChanges(
        tuple(sorted(after.nodes.keys() - before.nodes.keys())),
        tuple(sorted(name for name in before.nodes.keys() - after.nodes.keys() if not after.has(name))),
        tuple(_input_changes(before, after)),
    )


def used_in(graph: str | None, editor_graph: str | None) -> frozenset[str]:
    """The classes of a saved graph: of the one in ComfyUI's API format if there is one, else of the editor's."""
    if graph is not None:
        nodes = msgspec.json.decode(graph)
        found = (node.get("class_type") for node in nodes.values() if isinstance(node, dict))
        return frozenset(name for name in found if isinstance(name, str))
    return frozenset(_types_in(msgspec.json.decode(editor_graph))) if editor_graph else frozenset()


def _input_changes(before: Catalog, after: Catalog) -> Iterator[InputChange]:
    for name in sorted(before.nodes.keys() & after.nodes.keys()):
        old, new = _described(before.inputs(name)), _described(after.inputs(name))
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                yield InputChange(name, key, old.get(key), new.get(key))


def _described(inputs: Iterable[InputSpec]) -> dict[str, str]:
    return {each.name: f"{_type_of(each)}{'' if each.required else ', optional'}" for each in inputs}


def _type_of(spec: InputSpec) -> str:
    """The type; of a choice only that it is one, since what it offers follows the files of a host."""
    return "COMBO" if spec.choices is not None else str(spec.type)


def _types_in(editor_graph: Any) -> Iterator[str]:
    """The types of nodes, also of those in subgraphs, whose own ids stand for classes that no ComfyUI has."""
    waiting, seen = deque([editor_graph]), 0
    while waiting and seen < MAX_NODES:
        seen += 1
        match waiting.popleft():
            case {"nodes": list(nodes), **rest}:
                waiting.extend(itertools.islice(nodes, MAX_NODES - seen))
                definitions = rest.get("definitions")
                subgraphs = definitions.get("subgraphs") if isinstance(definitions, dict) else None
                waiting.extend(itertools.islice(subgraphs if isinstance(subgraphs, list) else [], MAX_NODES - seen))
            case {"type": str(name)}:
                yield name
