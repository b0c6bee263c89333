"""Names for results that are not files of a node: texts, and pictures sent on ComfyUI's websocket. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_PART = 80


@dataclass
class ResultNames:
    """Gives each result a unique name, even if the ids of two nodes look alike."""

    _taken: dict[str, object] = field(default_factory=dict)

    def name(self, *parts: str, suffix: str, of: object) -> str:
        """The name of a result: always the same, and not used by another."""
        stem, number = "_".join(_plain(part) for part in parts), 1
        name = f"{stem}{suffix}"
        while self._taken.setdefault(name, of) != of:
            number += 1
            name = f"{stem}_{number}{suffix}"
        return name


def texts_of(node_results: Mapping[str, Any]) -> Iterator[tuple[str, str, list[str]]]:
    """(node, key, lines) of all results that are only text."""
    for node_id, result in node_results.items():
        for key, value in result.items() if isinstance(result, dict) else ():
            lines = [value] if isinstance(value, str) else value
            if isinstance(lines, list | tuple) and lines and all(isinstance(line, str) for line in lines):
                yield str(node_id), str(key), list(lines)


def _plain(part: str) -> str:
    return "".join(character if character.isalnum() or character == "_" else "-" for character in part)[:MAX_PART]
