"""A workflow as the editor saves it becomes the graph that the API takes: rules that small graphs show."""

from __future__ import annotations

from typing import Any

import pytest

from comfyward.errors import InvalidGraph, UnknownClasses
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
        "Grain": {"input": {"required": {"size": ["FLOAT", {"round": 1e-9}], "count": ["INT", {"step": 1e-9}]}}},
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


def test_named_values_of_a_pack_are_followed_without_its_script() -> None:
    graph = {
        "nodes": [
            node(1, "Load", ["b.safetensors"]),
            node(2, "SetNode", ["model"], inputs=[{"name": "MODEL", "type": "MODEL", "link": 1}]),
            node(3, "GetNode", ["model"], outputs=[{"name": "MODEL", "type": "MODEL"}]),
            node(4, "GetNode", ["another"], outputs=[{"name": "MODEL", "type": "MODEL"}]),
            node(5, "Sample", [1, "fixed", 2], inputs=[{"name": "model", "type": "MODEL", "link": 2}]),
            node(6, "Sample", [1, "fixed", 2], inputs=[{"name": "model", "type": "MODEL", "link": 3}]),
        ],
        "links": [[1, 1, 0, 2, 0, "MODEL"], [2, 3, 0, 5, 0, "MODEL"], [3, 4, 0, 6, 0, "MODEL"]],
    }

    made = convert(graph, CATALOG)

    assert made["5"]["inputs"] == {"model": ["1", 0], "seed": 1, "steps": 2}
    assert made["6"]["inputs"] == {"seed": 1, "steps": 2}


def test_values_that_a_pack_saves_by_name_are_taken_by_name() -> None:
    made = convert({"nodes": [node(1, "Sample", {"steps": 9, "videopreview": {"a": 1}})], "links": []}, CATALOG)

    assert made["1"]["inputs"] == {"seed": 0, "steps": 9}


def test_a_subgraph_that_passes_its_input_on() -> None:
    passing = {
        "id": "pass",
        "nodes": [],
        "links": [{"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": -20, "target_slot": 0, "type": "IMAGE"}],
        "inputs": [{"name": "in", "type": "IMAGE", "linkIds": [1]}],
        "outputs": [{"name": "out", "type": "IMAGE", "linkIds": [1]}],
    }
    graph = {
        "nodes": [
            node(1, "Sample", [1, "fixed", 2]),
            node(2, "pass", inputs=[{"name": "in", "type": "IMAGE", "link": 1}]),
            node(3, "Save", ["x"]),
        ],
        "links": [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"]],
        "definitions": {"subgraphs": [passing]},
    }

    assert convert(graph, CATALOG)["3"]["inputs"] == {"images": ["1", 0], "prefix": "x"}


def test_a_muted_box_inside_of_a_subgraph_is_not_opened() -> None:
    inner = {"id": "inner", "nodes": [node(9, "Save", ["never"])], "links": []}
    outer = {"id": "outer", "nodes": [node(5, "inner", mode=2), node(6, "Save", ["x"])], "links": []}
    graph = {"nodes": [node(1, "outer")], "links": [], "definitions": {"subgraphs": [outer, inner]}}

    assert list(convert(graph, CATALOG)) == ["1:6"]
    assert [each.path for each in active_nodes(graph)] == ["1:6"]


GROWING = {"template": {"input": {"required": {"value": ["FLOAT", {"default": 0.5}]}}, "prefix": "value", "min": 1}}
GROWN = Catalog(
    nodes={
        **CATALOG.nodes,
        "Number": {"input": {}, "output": ["FLOAT"]},
        "Mix": {
            "input": {"required": {"head": ["INT", {}], "values": ["COMFY_AUTOGROW_V3", GROWING]}},
            "output": [],
        },
    }
)
VALUES = [{"name": f"values.value{at}", "type": "FLOAT", "link": link} for at, link in enumerate((0, None, 2))]


def test_linked_widgets_that_grow_keep_the_places_of_the_others() -> None:
    """The editor gives the third of them to the next widget, and adds inputs such as "values.value1#1"."""
    mix = node(2, "Mix", [0.1, 0.2, 0.3, 7], inputs=VALUES)
    graph = {"nodes": [node(1, "Number"), mix], "links": [[0, 1, 0, 2, 0, "FLOAT"], [2, 1, 0, 2, 2, "FLOAT"]]}

    assert convert(graph, GROWN)["2"]["inputs"] == {
        "values.value0": ["1", 0],
        "values.value1": 0.2,
        "values.value2": ["1", 0],
        "head": 7,
    }


def test_widgets_that_grow_are_promoted() -> None:
    inner = {
        "id": "inner",
        "nodes": [node(3, "Mix", [0.1, 0.2, 0.3, 7], inputs=VALUES)],
        "links": [
            {"id": 0, "origin_id": -10, "origin_slot": 0, "target_id": 3, "target_slot": 0, "type": "FLOAT"},
            {"id": 2, "origin_id": -10, "origin_slot": 1, "target_id": 3, "target_slot": 2, "type": "FLOAT"},
        ],
        "inputs": [{"name": "a", "type": "FLOAT", "linkIds": [0]}, {"name": "b", "type": "FLOAT", "linkIds": [2]}],
    }
    box = node(1, "inner", [0.6], inputs=[{"name": "a", "type": "FLOAT"}, {"name": "b", "type": "FLOAT", "link": 5}])
    graph = {"nodes": [box, node(4, "Number")], "links": [[5, 4, 0, 1, 1, "FLOAT"]]}

    made = convert({**graph, "definitions": {"subgraphs": [inner]}}, GROWN)

    assert made["1:3"]["inputs"] == {"values.value0": 0.6, "values.value1": 0.2, "values.value2": ["4", 0], "head": 7}


def test_a_value_that_only_a_browser_makes_is_said_by_node() -> None:
    catalog = Catalog(nodes={"View": {"input": {"required": {"image": ["LOAD_3D", {}]}}, "output": ["IMAGE"]}})
    graph = {"nodes": [node(4, "View", [""], title="My scene"), node(5, "View", mode=4)], "links": []}

    with pytest.raises(InvalidGraph) as refused:
        convert(graph, catalog)

    assert refused.value.message == (
        "Only a browser can make a value that this workflow needs: node 4 'My scene' (View): a view of a 3D scene."
    )
    assert [each["node_id"] for each in refused.value.details["nodes"]] == ["4"]


def test_a_script_of_a_pack_in_the_editor_is_named_with_its_pack() -> None:
    with pytest.raises(UnknownClasses) as refused:
        convert({"nodes": [node(4, "Anything Everywhere", [])], "links": []}, CATALOG)

    assert "of the pack cg-use-everywhere" in refused.value.message
    assert "File > Export (API)" in (refused.value.hint or "")


def test_links_that_a_script_of_a_pack_has_noted_are_made() -> None:
    ends = {"downstream": 3, "downstream_slot": 0, "upstream": "7", "upstream_slot": 0, "controller": 4}
    stale = {**ends, "downstream": 9}
    kept = {**ends, "downstream": 9, "downstream_slot": 1, "upstream": 3}
    nodes = [
        node(7, "Load", ["a.safetensors"]),
        node(4, "Anything Everywhere", [], inputs=[{"name": "anything", "type": "MODEL", "link": 1}]),
        node(3, "Sample", [5, "fixed", 8], inputs=[{"name": "model", "type": "MODEL", "link": None}]),
        node(9, "Save", ["x"], inputs=[{"name": "images", "type": "IMAGE", "link": 2}, {"name": "prefix"}]),
    ]
    graph = {"nodes": nodes, "links": [[1, 7, 0, 4, 0, "MODEL"], [2, 3, 0, 9, 0, "IMAGE"]]}
    noted = [ends, stale, kept, {"downstream": []}, None, {**ends, "downstream_slot": 9}, {**ends, "downstream": 99}]

    made = convert({**graph, "extra": {"ue_links": noted}}, CATALOG)

    assert made["3"]["inputs"] == {"model": ["7", 0], "seed": 5, "steps": 8}
    assert made["9"]["inputs"] == {"images": ["3", 0], "prefix": ["3", 0]}
    assert made.keys() == {"7", "3", "9"}
    assert [each.path for each in active_nodes({**graph, "extra": {"ue_links": noted}})] == ["7", "3", "9"]


def test_letters_in_texts_stay() -> None:
    words = 'NaN bread, "NaN", -Infinity and Infinity: [NaN], \\ é'

    made = convert({"nodes": [node(1, "Save", [words])], "links": []}, CATALOG)

    assert made["1"]["inputs"] == {"prefix": words}


@pytest.mark.parametrize("value", [1e300, -1e300, 10**400, "1" * 400, "0x" + "f" * 400, "nan"])
def test_a_primitive_of_a_number_beyond_all_is_no_fault(value: Any) -> None:
    nodes = [
        node(1, "PrimitiveNode", [value, "fixed"], outputs=[{"name": "INT", "type": "INT", "links": [1, 2, 3]}]),
        node(3, "Sample", [5, "fixed", 8], inputs=[{"name": "steps", "type": "INT", "link": 1}]),
        node(
            4,
            "Grain",
            [1, 1],
            inputs=[{"name": name, "type": "INT", "link": at} for name, at in (("size", 2), ("count", 3))],
        ),
    ]
    links = [[1, 1, 0, 3, 2, "INT"], [2, 1, 0, 4, 0, "INT"], [3, 1, 0, 4, 1, "INT"]]

    made = convert({"nodes": nodes, "links": links}, CATALOG)

    assert made["3"]["inputs"].keys() == {"seed", "steps"}
    assert made["4"]["inputs"].keys() == {"size", "count"}
