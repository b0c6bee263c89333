"""A class that ComfyUI has no more is replaced by the one that ComfyUI names for it, in both formats of a graph."""

from __future__ import annotations

from typing import Any

import pytest

from comfyward.workflows.catalog import Catalog
from comfyward.workflows.conversion.conversion import convert
from comfyward.workflows.graph import parse_graph
from comfyward.workflows.listing import Paths
from comfyward.workflows.needed import missing_classes
from comfyward.workflows.posted import Posted, opened, written
from comfyward.workflows.validation import check

# Of ComfyUI 0.30's GET /node_replacements.
RENAMED = {
    "new_node_id": "ConditioningAverage",
    "old_node_id": "ConditioningAverage ",
    "old_widget_ids": None,
    "input_mapping": None,
    "output_mapping": None,
}
LOADER = {
    "new_node_id": "ControlNetLoader",
    "old_node_id": "T2IAdapterLoader",
    "old_widget_ids": None,
    "input_mapping": [{"new_id": "control_net_name", "old_id": "t2i_adapter_name"}],
    "output_mapping": None,
}
RESIZED = {
    "new_node_id": "ImageScaleToMaxDimension",
    "old_node_id": "ResizeImagesByLongerEdge",
    "old_widget_ids": ["longer_edge"],
    "input_mapping": [
        {"new_id": "image", "old_id": "images"},
        {"new_id": "largest_size", "old_id": "longer_edge"},
        {"new_id": "upscale_method", "set_value": "lanczos"},
    ],
    "output_mapping": [{"new_idx": 1, "old_idx": 0}],
}
CATALOG = Catalog(
    nodes={
        "Words": {"input": {"required": {"text": ["STRING", {}]}}, "output": ["CONDITIONING"]},
        "ConditioningAverage": {
            "input": {
                "required": {
                    "conditioning_to": ["CONDITIONING"],
                    "conditioning_from": ["CONDITIONING"],
                    "conditioning_to_strength": ["FLOAT", {"default": 1.0}],
                }
            },
            "output": ["CONDITIONING"],
        },
        "ControlNetLoader": {
            "input": {"required": {"control_net_name": [["canny.safetensors"]]}},
            "output": ["CONTROL_NET"],
        },
        "ImageScaleToMaxDimension": {
            "input": {
                "required": {
                    "image": ["IMAGE"],
                    "upscale_method": [["area", "lanczos"]],
                    "largest_size": ["INT", {"default": 512}],
                }
            },
            "output": ["MASK", "IMAGE"],
        },
        "Picture": {"input": {"required": {}}, "output": ["IMAGE"]},
        "Save": {
            "input": {"required": {}, "optional": {"images": ["IMAGE"], "any": ["*"]}},
            "output": [],
            "output_node": True,
        },
    },
    replacements={str(each["old_node_id"]): [each] for each in (RENAMED, LOADER, RESIZED)},
)


def replaced(prompt: dict[str, Any], catalog: Catalog = CATALOG) -> dict[str, Any]:
    """The graph as it is stored, which no check refuses."""
    graph = catalog.with_replacements(parse_graph(prompt))
    check(graph, catalog, Paths([])).raise_if_any()
    return graph.prompt


def test_inputs_are_renamed_and_outputs_moved() -> None:
    prompt = {
        "1": {"class_type": "Picture", "inputs": {}},
        "2": {"class_type": "ResizeImagesByLongerEdge", "inputs": {"images": ["1", 0], "longer_edge": 64}},
        "3": {"class_type": "Save", "inputs": {"images": ["2", 0]}, "_meta": {"title": "End"}},
    }

    found = replaced(prompt)

    inputs = {"image": ["1", 0], "largest_size": 64, "upscale_method": "lanczos"}
    assert found == {
        "1": prompt["1"],
        "2": {"class_type": "ImageScaleToMaxDimension", "inputs": inputs},
        "3": {"class_type": "Save", "inputs": {"images": ["2", 1]}, "_meta": {"title": "End"}},
    }


def test_a_class_of_another_name_keeps_its_inputs() -> None:
    average = {"conditioning_to": ["1", 0], "conditioning_from": ["1", 0], "conditioning_to_strength": 0.5}
    prompt = {
        "1": {"class_type": "Words", "inputs": {"text": "x"}},
        "2": {"class_type": "ConditioningAverage ", "inputs": average},
        "3": {"class_type": "Save", "inputs": {"any": ["2", 0]}},
    }

    assert replaced(prompt)["2"] == {"class_type": "ConditioningAverage", "inputs": average}


def test_a_class_that_is_still_there_is_kept() -> None:
    nodes = {**CATALOG.nodes, "T2IAdapterLoader": {"input": {"required": {}}, "output": ["CONTROL_NET"]}}
    graph = parse_graph({"1": {"class_type": "T2IAdapterLoader", "inputs": {}}})

    assert Catalog(nodes=nodes, replacements=CATALOG.replacements).with_replacements(graph) is graph


def test_a_class_whose_replacement_is_not_there_is_missing() -> None:
    bare = Catalog(nodes={"Save": CATALOG.nodes["Save"]}, replacements=CATALOG.replacements)

    assert CATALOG.lacking(["T2IAdapterLoader", "Save", "Other"]) == ["Other"]
    assert bare.lacking(["T2IAdapterLoader", "Save"]) == ["T2IAdapterLoader"]


@pytest.mark.parametrize(
    ("kind", "values", "inputs"),
    [
        ("T2IAdapterLoader", ["canny.safetensors"], {"control_net_name": "canny.safetensors"}),
        ("ResizeImagesByLongerEdge", [64], {"image": ["1", 0], "largest_size": 64, "upscale_method": "lanczos"}),
    ],
)
def test_a_node_of_an_editors_file_is_read_and_replaced(kind: str, values: list[Any], inputs: dict[str, Any]) -> None:
    fed = [{"name": "images", "type": "IMAGE", "link": 1}] if "image" in inputs else []
    links = [[1, 1, 0, 2, 0, "IMAGE"]] if fed else []
    nodes = [{"id": 1, "type": "Picture"}, {"id": 2, "type": kind, "widgets_values": values, "inputs": fed}]
    end = {"id": 3, "type": "Save", "inputs": [{"name": "any", "type": "*", "link": 2}]}

    made = convert({"nodes": [*nodes, end], "links": [*links, [2, 2, 0, 3, 1, "*"]]}, CATALOG)

    assert replaced(made)["2"]["inputs"] == inputs


def test_a_check_finds_the_model_of_a_loader_that_is_gone() -> None:
    prompt = {"1": {"class_type": "T2IAdapterLoader", "inputs": {"t2i_adapter_name": "canny.safetensors"}}}
    in_editor = {"nodes": [{"id": 1, "type": "T2IAdapterLoader", "widgets_values": ["canny.safetensors"]}]}

    for posted in (Posted(prompt, None), Posted(None, in_editor)):
        found, refused = written(opened(posted), CATALOG)

        assert refused is None
        assert found.graph.prompt["1"]["inputs"] == {"control_net_name": "canny.safetensors"}
        assert missing_classes(found, CATALOG) == ()
