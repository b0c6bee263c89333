"""Time to convert the editor's workflows: `python -m bench.conversion [ROUNDS]`.

Converts every template and blueprint of ComfyUI whose classes its catalog has, and prints the median, the 99th
percentile and the maximum, of the fastest of ROUNDS (5 by default) each; then the time until hostile workflows are
refused, and the most memory that this took.
"""

from __future__ import annotations

import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

from comfyward.errors import InvalidGraph
from comfyward.server_settings import default_data_dir
from comfyward.workflows.conversion.conversion import convert
from tests.editor import kept
from tests.editor.rules import definition, graph, node, reroute, source


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    report_workflows(rounds)
    print(f"\n{'hostile workflow':40} {'ms':>8} {'MB':>8}  refused")
    for name, make in HOSTILE.items():
        report_hostile(name, make(), rounds)


def report_workflows(rounds: int) -> None:
    answers, catalog = kept.read("templates"), kept.catalog()
    workflows = [each for name, each in kept.workflows(default_data_dir() / "environments") if name in answers]
    times = sorted(min(seconds(each, catalog) for _ in range(rounds)) * 1000 for each in workflows)
    middle, late = statistics.median(times), times[int(len(times) * 0.99)]
    print(f"{len(times)} workflows: median {middle:.2f} ms, p99 {late:.2f} ms, at most {times[-1]:.2f} ms")


def seconds(workflow: Any, catalog: Any) -> float:
    began = time.perf_counter()
    try:
        convert(workflow, catalog)
    except InvalidGraph:
        pass
    return time.perf_counter() - began


def report_hostile(name: str, workflow: Any, rounds: int) -> None:
    catalog = kept.catalog_of_rules()
    fastest = min(seconds(workflow, catalog) for _ in range(rounds))
    tracemalloc.start()
    try:
        told = f"no: {len(convert(workflow, catalog))} nodes"
    except InvalidGraph as error:
        told = error.message
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(f"{name:40} {fastest * 1000:8.1f} {peak / 1e6:8.1f}  {told[:90]}")


def doubling() -> Any:
    made = [definition("level 40", [node(1, "TSeed", [1])], [])]
    for level in reversed(range(40)):
        made.append(definition(f"level {level}", [node(at, made[-1]["id"]) for at in (1, 2)], []))
    return graph([node(1, made[-1]["id"])], [], *made)


def itself() -> Any:
    inner = definition("itself", [], [])
    inner["nodes"].append(node(8, inner["id"]))
    return graph([node(1, inner["id"])], [], inner)


def levels() -> Any:
    made = [definition("level 5000", [node(1, "TSeed", [1])], [])]
    for level in reversed(range(5000)):
        made.append(definition(f"level {level}", [node(1, made[-1]["id"])], []))
    return graph([node(1, made[-1]["id"])], [], *made)


def chain(ends: int) -> Any:
    nodes = [reroute(at, at, at + 1) for at in range(1, 5001)]
    links = [[1, 9999, 0, 1, 0, "IMAGE"], *([at, at - 1, 0, at, 0, "*"] for at in range(2, 5001))]
    links += [[20_000 + at, 5000, 0, 10_000 + at, 0, "IMAGE"] for at in range(ends)]
    return graph([source(9999), *nodes, *(node(10_000 + at, "TSave", ["x"]) for at in range(ends))], links)


def wide() -> Any:
    made = definition("wide", [], [], [("a", "IMAGE", [])] * 1000)
    return graph([{"id": at, "type": made["id"]} for at in range(20_000)], [], made)


HOSTILE: dict[str, Callable[[], Any]] = {
    "a box inside itself": itself,
    "40 doubling definitions": doubling,
    "5,000 levels of boxes": levels,
    "a chain of 5,000 reroutes": lambda: chain(1),
    "5,000 ways through 5,000 reroutes": lambda: chain(5000),
    "a million links": lambda: {"nodes": [], "links": [[at, 1, 0, 2, 0, "*"] for at in range(1_000_000)]},
    "20,000 nodes of one id": lambda: graph([node(1, "TSeed", [1]) for _ in range(20_000)]),
    "20,000 boxes with 1,000 inputs": wide,
    "300,000 braces": lambda: graph([node(1, "TText", ["{a|" * 100_000, "x"])]),
    "20,000 wrong types": lambda: {"nodes": [{"id": at, "type": at} for at in range(20_000)]},
}

if __name__ == "__main__":
    main()
