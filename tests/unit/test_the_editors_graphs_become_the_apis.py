"""A workflow as the editor saves it becomes the graph that the API takes: rules that small graphs show."""

from __future__ import annotations

from typing import Any

from comfyward.workflows.catalog import Catalog
from comfyward.workflows.conversion.conversion import convert
from comfyward.workflows.conversion.outline import active_nodes

CATALOG = Catalog(
    nodes={
        "Load": {"input": {"required": {"name": [["a.safetensors", "b.safetensors"]]}}, "output": ["MODEL"]},
        "Sample": {
            "input": {"required": {"model": ["MODEL"], "seed": ["INT", {}], "steps": ["INT", {"default": 20}]}},
            "output": ["IMAGE"],
        },
        "Save": {"input": {"required": {"images": ["IMAGE"], "prefix": ["STRING", {"default": "x"}]}}, "output": []},
    }
)


def node(node_id: int, kind: str, values: Any = None, **more: Any) -> dict[str, Any]:
    return {"id": node_id, "type": kind, "widgets_values": values, **more}


INNER = {
    "id": "sub",
    "nodes": [node(7, "Load", ["a.safetensors"]), node(3, "Sample", [5, "fixed", 8])],
    "links": [
        {"id": 1, "origin_id": 7, "origin_slot": 0, "target_id": 3, "target_slot": 0, "type": "MODEL"},
        {"id": 2, "origin_id": 3, "origin_slot": 0, "target_id": -20, "target_slot": 0, "type": "IMAGE"},
        {"id": 3, "origin_id": -10, "origin_slot": 0, "target_id": 3, "target_slot": 2, "type": "INT"},
    ],
    "inputs": [{"name": "steps", "type": "INT", "linkIds": [3]}],
    "outputs": [{"name": "image", "type": "IMAGE", "linkIds": [2]}],
}


def test_a_subgraph_is_opened_and_a_reroute_is_passed() -> None:
    graph = {
        "nodes": [
            node(12, "sub", [30]),
            node(4, "Reroute", inputs=[{"name": "", "type": "*", "link": 5}]),
            node(9, "Save", ["y"]),
            node(10, "Save", ["z"], mode=4),
        ],
        "links": [[5, 12, 0, 4, 0, "IMAGE"], [6, 4, 0, 9, 0, "IMAGE"]],
        "definitions": {"subgraphs": [INNER]},
    }

    made = convert(graph, CATALOG)

    assert {key: each["inputs"] for key, each in made.items()} == {
        "12:7": {"name": "a.safetensors"},
        "12:3": {"model": ["12:7", 0], "seed": 5, "steps": 30},
        "9": {"images": ["12:3", 0], "prefix": "y"},
    }
    assert [(each.path, each.class_type) for each in active_nodes(graph)] == [
        ("9", "Save"),
        ("12:7", "Load"),
        ("12:3", "Sample"),
    ]
