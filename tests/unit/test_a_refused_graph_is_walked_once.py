"""A refused graph costs the same however many output nodes it has, and its answer does not grow with their product."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from comfyward.workflows import validation
from comfyward.workflows.catalog import Catalog, InputSpec
from comfyward.workflows.graph import parse_graph
from comfyward.workflows.listing import Paths
from comfyward.workflows.validation import check
from comfyward.workflows.verdict import Verdict

OUTPUTS = 100
NODES: dict[str, dict[str, Any]] = {
    "Load": {"input": {"required": {"name": ["STRING", {}]}}, "output": ["IMAGE"]},
    "Blend": {"input": {"required": {"one": ["IMAGE"], "two": ["IMAGE"]}}, "output": ["IMAGE"]},
    "Save": {"input": {"required": {"images": ["IMAGE"]}}, "output": [], "output_node": True},
}


@dataclass(frozen=True)
class CountedCatalog(Catalog):
    asked: list[str] = field(default_factory=list)  # the class of each node whose inputs were asked for

    def inputs(self, class_type: str) -> Iterator[InputSpec]:
        self.asked.append(class_type)
        return super().inputs(class_type)


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def chain(count: int, first: dict[str, Any], *, prefix: str = "save", **second: Any) -> dict[str, Any]:
    """A first node, `count` more that each need the one before, and OUTPUTS nodes that save the last."""
    graph = {"0": first}
    for each in range(1, count + 1):
        graph[str(each)] = node("Blend", one=[str(each - 1), 0], **second)
    return graph | {f"{prefix}{each}": node("Save", images=[str(count), 0]) for each in range(OUTPUTS)}


def verdict(graph: dict[str, Any], catalog: Catalog) -> Verdict:
    return check(parse_graph(graph), catalog, Paths(()))


def test_a_graph_with_many_outputs_is_walked_once() -> None:
    catalog = CountedCatalog(nodes=NODES)
    graph = chain(1_000, node("Load"), two=["0", 0])

    found = verdict(graph, catalog)

    assert [problem.node.id for problem in found.problems] == ["0"]
    assert found.dependents == {"0": [f"save{each}" for each in range(OUTPUTS)]}
    assert len(catalog.asked) <= 3 * len(graph)


def test_so_is_one_with_a_cycle() -> None:
    catalog = CountedCatalog(nodes=NODES)
    graph = chain(1_000, node("Blend", one=["500", 0], two=["1000", 0]), two=["0", 0])

    found = verdict(graph, catalog)

    outputs = [f"save{each}" for each in range(OUTPUTS)]
    assert found.problems
    assert all(needed == outputs for needed in found.dependents.values())
    assert len(catalog.asked) <= 3 * len(graph)


def test_the_ids_in_an_answer_are_bounded() -> None:
    for prefix in ("save", "s" * 5_000):
        found = verdict(chain(1_000, node("Load"), prefix=prefix), CountedCatalog(nodes=NODES))

        assert len(found.dependents) == 1_001
        told = sum(len(output) for outputs in found.dependents.values() for output in outputs)
        assert told <= validation.MAX_TOLD


def test_a_long_cycle_names_some_of_its_nodes() -> None:
    for prefix in ("", "n" * 5_000):
        ids = [f"{prefix}{each}" for each in range(1_000)]
        around = {each: node("Blend", one=[before, 0], two=[before, 0]) for before, each in pairwise([ids[-1], *ids])}

        found = verdict(around | {"save": node("Save", images=[ids[-1], 0])}, CountedCatalog(nodes=NODES))

        cycles = [problem for problem in found.problems if problem.type == "dependency_cycle"]
        assert len(cycles) == validation.MAX_AROUND
        assert sum(len(problem.details or "") + len(str(problem.more)) for problem in cycles) < 250_000
