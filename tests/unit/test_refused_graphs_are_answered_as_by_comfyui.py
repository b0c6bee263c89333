"""Editors and clients act on the types, texts and `extra_info` of ComfyUI 0.30: the expected answers are its own."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from comfyward.api.native.errors import ERRORS
from comfyward.errors import InvalidGraph
from comfyward.workflows.catalog import Catalog
from comfyward.workflows.graph import parse_graph
from comfyward.workflows.listing import Paths
from comfyward.workflows.validation import check

WIDTH = ["INT", {"default": 512, "min": 1, "max": 16384, "step": 1}]
IMAGES = ["IMAGE", {"tooltip": "The images to save."}]
NODES = {
    "EmptyImage": {"input": {"required": {"width": WIDTH}}, "output": ["IMAGE"], "output_node": False},
    "EmptyLatent": {"input": {}, "output": ["LATENT"], "output_node": False},
    "Invert": {"input": {"required": {"image": ["IMAGE", {}]}}, "output": ["IMAGE"], "output_node": False},
    "Pick": {
        "input": {"required": {"one": [[str(each) for each in range(21)], {}]}},
        "output": [],
        "output_node": True,
    },
    "PickOfTwo": {"input": {"required": {"one": [["a", "5"]]}}, "output": [], "output_node": True},
    "SaveImage": {"input": {"required": {"images": IMAGES}}, "output": [], "output_node": True},
}
CATALOG = Catalog.from_json({"nodes": {name: {**node, "python_module": "nodes"} for name, node in NODES.items()}})


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def answer(graph: dict[str, Any]) -> dict[str, Any]:
    """The body of the answer with 400 to a graph."""
    with pytest.raises(InvalidGraph) as refused:
        check(parse_graph(graph), CATALOG, Paths(())).raise_if_any()
    spelled = ERRORS.spell(refused.value)
    assert spelled.status == 400
    body: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(spelled.body))
    return body


def top(kind: str, message: str, details: str = "", **about: Any) -> dict[str, Any]:
    return {"error": {"type": kind, "message": message, "details": details, "extra_info": about}, "node_errors": {}}


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        ({}, top("prompt_no_outputs", "Prompt has no outputs")),
        ({"1": node("EmptyImage", width=8)}, top("prompt_no_outputs", "Prompt has no outputs")),
        (
            {"1": node("Nope")},
            top(
                "missing_node_type",
                "Node 'Nope' not found. The custom node may not be installed.",
                "Node ID '#1'",
                node_id="1",
                class_type="Nope",
                node_title="Nope",
            ),
        ),
        (
            {"1": {**node("Nope"), "_meta": {"title": "My node"}}},
            top(
                "missing_node_type",
                "Node 'My node' not found. The custom node may not be installed.",
                "Node ID '#1'",
                node_id="1",
                class_type="Nope",
                node_title="My node",
            ),
        ),
        (
            {"1": {"inputs": {}}},
            top(
                "missing_node_type",
                "Node 'ID #1' has no class_type. The workflow may be corrupted or a custom node is missing.",
                "Node ID '#1'",
                node_id="1",
                class_type=None,
                node_title=None,
            ),
        ),
    ],
)
def test_a_graph_without_a_class_or_an_output(graph: dict[str, Any], expected: dict[str, Any]) -> None:
    assert answer(graph) == expected


@pytest.mark.parametrize(
    ("graph", "node_id", "error"),
    [
        (
            {"1": node("EmptyImage", width=0), "2": node("SaveImage", images=["1", 0])},
            "1",
            {
                "type": "value_smaller_than_min",
                "message": "Value 0 smaller than min of 1",
                "details": "width",
                "extra_info": {"input_name": "width", "input_config": WIDTH, "received_value": 0},
            },
        ),
        (
            {"1": node("EmptyImage", width="abc"), "2": node("SaveImage", images=["1", 0])},
            "1",
            {
                "type": "invalid_input_type",
                "message": "Failed to convert an input value to a INT value",
                "details": "width, abc, invalid literal for int() with base 10: 'abc'",
                "extra_info": {
                    "input_name": "width",
                    "input_config": WIDTH,
                    "received_value": "abc",
                    "exception_message": "invalid literal for int() with base 10: 'abc'",
                },
            },
        ),
        (
            {"2": node("SaveImage")},
            "2",
            {
                "type": "required_input_missing",
                "message": "Required input is missing",
                "details": "images",
                "extra_info": {"input_name": "images"},
            },
        ),
        (
            {"1": node("EmptyLatent"), "2": node("SaveImage", images=["1", 0])},
            "2",
            {
                "type": "return_type_mismatch",
                "message": "Return type mismatch between linked nodes",
                "details": "images, received_type(LATENT) mismatch input_type(IMAGE)",
                "extra_info": {
                    "input_name": "images",
                    "input_config": IMAGES,
                    "received_value": ["1", 0],
                    "received_type": "LATENT",
                    "linked_node": ["1", 0],
                },
            },
        ),
    ],
)
def test_a_problem_of_an_input(graph: dict[str, Any], node_id: str, error: dict[str, Any]) -> None:
    body = answer(graph)

    assert body["node_errors"][node_id]["errors"] == [error]
    assert body["node_errors"][node_id]["dependent_outputs"] == ["2"]
    assert body["error"]["type"] == "prompt_outputs_failed_validation"
    assert body["error"]["details"] == f"{error['message']}: {error['details']}"


def test_a_problem_names_the_outputs_that_need_its_node_and_no_others() -> None:
    graph = {
        "1": node("EmptyImage", width=0),
        "2": node("SaveImage", images=["1", 0]),
        "3": node("Invert", image=["1", 0]),
        "4": node("SaveImage", images=["3", 0]),
        "5": node("EmptyImage", width=8),
        "6": node("SaveImage", images=["5", 0]),
    }

    assert answer(graph)["node_errors"]["1"]["dependent_outputs"] == ["2", "4"]


def test_a_cycle_names_its_nodes() -> None:
    graph = {"1": node("Invert", image=["2", 0]), "2": node("Invert", image=["1", 0])}
    graph["4"] = node("SaveImage", images=["1", 0])

    errors = answer(graph)["node_errors"]

    assert set(errors) == {"1", "2"}
    for node_id, entry in errors.items():
        [error] = entry["errors"]
        assert error["extra_info"]["node_id"] == node_id
        assert sorted(error["extra_info"]["cycle_nodes"]) == ["1", "2"]


def test_a_long_list_of_choices_is_not_repeated() -> None:
    [error] = answer({"1": node("Pick", one="x")})["node_errors"]["1"]["errors"]

    assert error["details"] == "one: 'x' not in (list of length 21)"
    assert error["extra_info"] == {"input_name": "one", "input_config": None, "received_value": "x"}


@pytest.mark.parametrize(("value", "quoted"), [("x", "'x'"), (5, "5"), (None, "None")])
def test_a_short_list_of_choices_is_repeated(value: Any, quoted: str) -> None:
    [error] = answer({"1": node("PickOfTwo", one=value)})["node_errors"]["1"]["errors"]

    assert error == {
        "type": "value_not_in_list",
        "message": "Value not in list",
        "details": f"one: {quoted} not in ['a', '5']",
        "extra_info": {"input_name": "one", "input_config": [["a", "5"], {}], "received_value": value},
    }


def test_our_own_answer_names_the_first_choices_of_a_long_list() -> None:
    with pytest.raises(InvalidGraph) as refused:
        check(parse_graph({"1": node("Pick", one="x")}), CATALOG, Paths(())).raise_if_any()

    assert refused.value.hint == f"Accepted: {', '.join(str(each) for each in range(20))}, … 1 more."


def test_a_long_value_is_not_repeated_thrice() -> None:
    graph = {"1": node("EmptyImage", width="9" * 3000 + "x"), "2": node("SaveImage", images=["1", 0])}

    [error] = answer(graph)["node_errors"]["1"]["errors"]

    assert len(error["details"]) < 500
