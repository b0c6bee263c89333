"""Changes for graphs from one catalog to another: classes that come and go, and classes with other inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from comfyward.workflows.catalog import Catalog


@dataclass(frozen=True)
class NodeChanges:
    """Names of classes, sorted. `changed` have inputs or outputs of other names or types."""

    gained: tuple[str, ...]
    lost: tuple[str, ...]
    changed: tuple[str, ...]


def node_changes(before: Catalog, after: Catalog) -> NodeChanges:
    old, new = before.nodes, after.nodes
    both = old.keys() & new.keys()
    return NodeChanges(
        gained=tuple(sorted(new.keys() - old.keys())),
        lost=tuple(sorted(old.keys() - new.keys())),
        changed=tuple(sorted(name for name in both if _shape(old[name]) != _shape(new[name]))),
    )


def _shape(node: Mapping[str, Any]) -> tuple[dict[str, dict[str, object]], object]:
    """The inputs by section and the outputs, with their types: what links and values depend on."""
    sections = node.get("input")
    inputs = sections.items() if isinstance(sections, dict) else ()
    return {name: _types(section) for name, section in inputs if name != "hidden"}, node.get("output")


def _types(section: object) -> dict[str, object]:
    return {name: _type(each) for name, each in section.items()} if isinstance(section, dict) else {}


def _type(described: object) -> object:
    """The name of a type. The choices of a list do not count: they change with every model."""
    found = described[0] if isinstance(described, list) and described else described
    return "COMBO" if isinstance(found, list) else found
