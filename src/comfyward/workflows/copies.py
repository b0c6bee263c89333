"""Removes private names from the copy of another account's workflow. Pure.

Inputs that take a file are emptied unless the new account has a file of that name. Names of models stay: the new owner
has to know which ones to bring.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from comfyward.workflows.catalog import INPUT_FOLDER, Catalog
from comfyward.workflows.references import ASSET

EMPTY = ""
_WIDGETS = "widgets_values"
_OUTPUTS = (" [output]", " [temp]")  # of the owner's runs
_FILE = re.compile(r"[^\n]+\.\w{1,5}( \[\w+\])?")


class Cleaner:
    """Cleans one workflow. `graph` must come first: it finds out which texts name files.

    `owners` are the names of the owner's files below input/, `usable` those of the new account.
    """

    def __init__(self, catalog: Catalog | None, owners: Iterable[str], usable: Iterable[str]) -> None:
        self._catalog = catalog or Catalog()
        self._owners, self._usable = _with_folders(owners), _with_folders(usable)
        self._emptied, self._kept = set[str](), set[str]()

    def graph(self, prompt: Mapping[str, Any]) -> dict[str, Any]:
        """The API-format graph for the new account."""
        return {node_id: self._node(node) for node_id, node in prompt.items()}

    def editor_graph(self, value: Any) -> Any:
        """The editor-format graph, or a part of it, for the new account."""
        match value:
            case {"widgets_values": widgets}:
                class_type = str(value.get("type"))
                kept = {key: self.editor_graph(inner) for key, inner in value.items() if key != _WIDGETS}
                kept["properties"] = self._cleaned(value.get("properties", {}), class_type)
                return {**kept, _WIDGETS: self._cleaned(widgets, class_type)}
            case dict():
                return {key: self.editor_graph(inner) for key, inner in value.items()}
            case list():
                return [self.editor_graph(inner) for inner in value]
            case _:
                return value

    def _node(self, node: Any) -> Any:
        inputs = node.get("inputs") if isinstance(node, dict) else None
        if not isinstance(inputs, dict):
            return node
        class_type = str(node.get("class_type"))
        return {**node, "inputs": {name: self._input(class_type, name, value) for name, value in inputs.items()}}

    def _input(self, class_type: str, name: str, value: Any) -> Any:
        if not isinstance(value, str):
            return self._cleaned(value, class_type)
        takes_file = self._catalog.folder(class_type, name) == INPUT_FOLDER
        is_private = _plain(value) not in self._usable if takes_file else self._is_private(value, class_type)
        (self._emptied if is_private else self._kept).add(value)
        return EMPTY if is_private else value

    def _cleaned(self, value: Any, class_type: str) -> Any:
        match value:
            case str():
                return EMPTY if self._is_private(value, class_type) or self._may_be_a_file(value, class_type) else value
            case {"__type": kind} if kind == ASSET:
                return EMPTY
            case dict():
                return {key: self._cleaned(inner, class_type) for key, inner in value.items()}
            case list():
                return [self._cleaned(inner, class_type) for inner in value]
            case _:
                return value

    def _is_private(self, text: str, class_type: str) -> bool:
        if text.endswith(_OUTPUTS):
            return True
        name = _plain(text)
        if not name or name in self._usable or text in self._choices(class_type):
            return False
        return text in self._emptied or name in self._owners

    def _may_be_a_file(self, text: str, class_type: str) -> bool:
        """True if a text may name a file in a node that is not in the API graph, such as a muted one."""
        folders = self._catalog.folders.get(class_type, {}).values()
        known = self._kept | self._usable | self._choices(class_type)
        return INPUT_FOLDER in folders and _FILE.fullmatch(text) is not None and _plain(text) not in known

    def _choices(self, class_type: str) -> set[Any]:
        """The class's own choices, which are not names of the owner's files."""
        if class_type not in self._catalog.nodes:
            return set()
        folders = self._catalog.folders.get(class_type, {})
        specs = (spec for spec in self._catalog.inputs(class_type) if folders.get(spec.name) != INPUT_FOLDER)
        return {choice for spec in specs for choice in spec.choices or () if isinstance(choice, str)}


def _with_folders(names: Iterable[str]) -> set[str]:
    """File names and the folders above them, since nodes can also read whole folders."""
    found = set(names)
    for name in list(found):
        parts = name.split("/")[:-1]
        found.update("/".join(parts[: end + 1]) for end in range(len(parts)))
    return found


def _plain(text: str) -> str:
    return text.removesuffix(" [input]")
