"""The differences of two catalogs: classes that come and go, inputs that change, and the graphs that use them."""

from __future__ import annotations

import json
from typing import Any

from comfyward.workflows.catalog import Catalog
from comfyward.workflows.class_changes import ClassChanges, InputChange, class_changes, used_in


def catalog(**classes: dict[str, Any]) -> Catalog:
    return Catalog(nodes={name: {"input": inputs} for name, inputs in classes.items()})


def test_classes_and_inputs_that_change_are_found() -> None:
    before = catalog(
        Crop={"required": {"x": ["INT", {}], "mode": [["a", "b"], {}], "old": ["FLOAT", {}]}},
        Goes={"required": {}},
        Same={"required": {"x": ["INT", {"default": 1}]}, "optional": {"mask": ["MASK", {}]}},
    )
    after = catalog(
        Crop={"required": {"x": ["FLOAT", {}], "mode": [["c"], {}]}, "optional": {"new": ["COMBO", {"options": []}]}},
        Comes={"required": {}},
        Same={"required": {"x": ["INT", {"default": 2}]}, "optional": {"mask": ["MASK", {}]}},
    )

    assert class_changes(before, after) == ClassChanges(
        gained=("Comes",),
        lost=("Goes",),
        inputs=(
            InputChange("Crop", "new", None, "COMBO, optional"),
            InputChange("Crop", "old", "FLOAT", None),
            InputChange("Crop", "x", "INT", "FLOAT"),
        ),
    )
    assert class_changes(after, after) == ClassChanges()


def test_an_input_that_becomes_required_changes() -> None:
    optional, required = catalog(A={"optional": {"x": ["INT"]}}), catalog(A={"required": {"x": ["INT"]}})
    assert class_changes(optional, required).inputs == (InputChange("A", "x", "INT, optional", "INT"),)


def test_the_classes_of_both_kinds_of_graphs_are_found() -> None:
    graph = {"1": {"class_type": "Crop", "inputs": {}}, "2": {"class_type": "SaveImage", "inputs": {}}}
    inner = {"id": "subgraph", "nodes": [{"id": 1, "type": "Inside"}]}
    editor = {"nodes": [{"id": 1, "type": "Outside"}], "definitions": {"subgraphs": [inner]}}
    assert used_in(json.dumps(graph), json.dumps(editor)) == {"Crop", "SaveImage"}
    assert used_in(None, json.dumps(editor)) == {"Outside", "Inside"}
    assert used_in(None, None) == used_in(None, "[1]") == used_in(None, '{"nodes": [5, {"type": 5}]}') == frozenset()
