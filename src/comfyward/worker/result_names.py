"""Names for results that are not files of a node: texts, and pictures sent on ComfyUI's websocket. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_PART = 80


@dataclass
class ResultNames:
    """Gives each result a unique name, even if the ids of two nodes look alike."""

    _given: dict[tuple[str, object], str] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)
    _last: dict[str, int] = field(default_factory=dict)  # the last number that was tried for a name

    def name(self, *parts: str, suffix: str, of: object) -> str:
        """The name of a result: always the same, and not used by another."""
        return self.unique("_".join(_plain(part) for part in parts), suffix, of=of)

    def unique(self, stem: str, suffix: str, *, of: object) -> str:
        """`stem` and `suffix`, with a number between them where another result has that name."""
        wanted = f"{stem}{suffix}"
        if (wanted, of) not in self._given:
            name = wanted
            while name in self._taken:
                self._last[wanted] = number = self._last.get(wanted, 1) + 1
                name = f"{stem}_{number}{suffix}"
            self._taken.add(name)
            self._given[wanted, of] = name
        return self._given[wanted, of]


def texts_of(node_results: Mapping[str, Any]) -> Iterator[tuple[str, str, list[str]]]:
    """(node, key, lines) of all results that are only text."""
    for node_id, result in node_results.items():
        for key, value in result.items() if isinstance(result, dict) else ():
            lines = [value] if isinstance(value, str) else value
            if isinstance(lines, list | tuple) and lines and all(isinstance(line, str) for line in lines):
                yield str(node_id), str(key), list(lines)


def _plain(part: str) -> str:
    return "".join(character if character.isalnum() or character == "_" else "-" for character in part)[:MAX_PART]
