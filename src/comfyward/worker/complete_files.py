"""The files below output/ that are complete while ComfyUI goes on. Pure.

They are those that finished nodes name, and those that were there before the first of the nodes at work began.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_AT_WORK = 16  # nodes that work at the same time, of which the files at their start are told apart

Stamp = tuple[int, int]  # of a file: its size, and when it was last written (ns)


@dataclass
class CompleteFiles:
    """The complete files of one run, by what its nodes tell."""

    _newest: Mapping[str, Stamp] | None = None  # all files, as the last node saw them that told of them
    _at_start: dict[str, Mapping[str, Stamp] | None] = field(default_factory=dict)  # by node at work, oldest first
    _listed: set[str] = field(default_factory=set)

    @property
    def are_at_rest(self) -> bool:
        """True while no node is at work."""
        return not self._at_start

    def begin(self, node: str, files: Mapping[str, Stamp] | None) -> None:
        """A node begins; `files` are there already, if that is known."""
        self._newest = files if files is not None else self._newest
        at_work = self._at_start
        at_work[node] = self._newest if len(at_work) < MAX_AT_WORK else next(reversed(at_work.values()))

    def end(self, node: str) -> None:
        """A node writes no more."""
        self._at_start.pop(node, None)

    def add_listed(self, outputs: Mapping[str, Any]) -> None:
        """Adds the files that the results of finished nodes name."""
        self._listed.update(files_of(outputs, "output"))

    def has(self, name: str, stamp: Stamp) -> bool:
        """True if a file is complete although nodes are at work."""
        before = self._before()
        return before[name] == stamp if name in before else name in self._listed

    def all(self) -> dict[str, Stamp | None]:
        """The complete files, by name; without a stamp if it is not known."""
        return dict.fromkeys(self._listed, None) | dict(self._before())

    def _before(self) -> Mapping[str, Stamp]:
        """The files that existed when the first of the nodes at work started."""
        return (next(iter(self._at_start.values())) if self._at_start else self._newest) or {}


def files_of(outputs: Mapping[str, Any], kind: str) -> dict[str, str]:
    """The nodes that wrote the files of a kind ("output", "temp"), by file name, according to the results."""
    nodes: dict[str, str] = {}
    for node_id, result in outputs.items():
        for values in result.values() if isinstance(result, dict) else ():
            for item in values if isinstance(values, list) else ():
                if (name := file_of(item, kind)) is not None:
                    nodes[name] = str(node_id)
    return nodes


def file_of(item: object, kind: str) -> str | None:
    """The path of a file below the folder of its kind, if a node's result is one."""
    if not isinstance(item, dict) or item.get("type") != kind or not isinstance(item.get("filename"), str):
        return None
    below = item.get("subfolder")
    folder = below.strip("/") if isinstance(below, str) else ""
    return f"{folder}/{item['filename']}" if folder else str(item["filename"])
