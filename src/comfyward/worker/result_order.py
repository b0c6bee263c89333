"""The order of a run's results: the same whenever its graph is run, whatever ComfyUI takes first. Pure.

Nodes come in the order of the graph, each after those that it depends on; then the files and texts of a node, as it
lists them. What no node lists comes last, by name.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from comfyward.worker.complete_files import file_of

LAST = 1 << 62


@dataclass(frozen=True)
class _Result:
    """`node` may be one that `real`, a node of the graph, became at run time."""

    name: str
    node: str | None
    real: str | None
    listed: Hashable


class ResultOrder:
    """`nodes` are those of the graph, each after those that it depends on."""

    def __init__(self, nodes: Sequence[str]) -> None:
        self._rank = {node: number for number, node in enumerate(nodes)}
        self._results: dict[str, _Result] = {}
        self._told: list[str] = []

    def add(self, name: str, node: str | None, real: str | None, listed: Hashable) -> None:
        """Adds a result: a file by its path below output/, a text by its node and key, else whatever compares."""
        self._results[name] = _Result(name, node, real, listed)

    def names(self, node_results: Mapping[str, Any]) -> list[str]:
        """The names of the results in order; empty if those that were added since the last time just follow."""
        places, before = _places(node_results), self._told
        results = sorted(self._results.values(), key=lambda each: self._key(each, places))
        self._told = names = [each.name for each in results]
        known = set(before)
        return [] if names == [*before, *(name for name in self._results if name not in known)] else names

    def _key(self, each: _Result, places: Mapping[Hashable, int]) -> tuple[int, tuple[tuple[int, str], ...], int, str]:
        made = tuple((len(part), part) for part in (each.node or "").split("."))  # 5.2 comes before 5.10
        return self._rank.get(each.real or "", LAST), made, places.get(each.listed, LAST), each.name


def _places(node_results: Mapping[str, Any]) -> dict[Hashable, int]:
    """The places of files and texts, in the order in which nodes list them."""
    places: dict[Hashable, int] = {}
    for node, result in node_results.items():
        for key, values in result.items() if isinstance(result, dict) else ():
            for value in values if isinstance(values, list) else ():
                if (name := file_of(value, "output")) is not None:
                    places[name] = len(places)
            places[node, key] = len(places)
    return places
