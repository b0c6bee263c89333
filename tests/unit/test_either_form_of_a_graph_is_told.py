"""What a request gives as its graph is told by its form: the API's, the editor's, both in one object, or neither."""

from __future__ import annotations

import json
from typing import Any

import pytest

from comfyward.errors import InvalidGraph
from comfyward.workflows.carried import submitted, with_editor_graph

GRAPH: dict[str, Any] = {"1": {"class_type": "A", "inputs": {}, "is_changed": [1]}}
CLEAN: dict[str, Any] = {"1": {"class_type": "A", "inputs": {}}}
EDITOR: dict[str, Any] = {"nodes": [{"id": 1, "type": "A"}], "links": [], "version": 0.4}


@pytest.mark.parametrize(
    ("sent", "prompt", "editors"),
    [
        (GRAPH, GRAPH, None),
        (EDITOR, None, EDITOR),
        ({"nodes": [{"id": 1, "type": "A"}]}, None, {"nodes": [{"id": 1, "type": "A"}]}),
        ({"prompt": GRAPH, "workflow": EDITOR}, CLEAN, EDITOR),
        ({"prompt": json.dumps(GRAPH), "workflow": json.dumps(EDITOR)}, CLEAN, EDITOR),
        ({"prompt": EDITOR}, None, EDITOR),
        ({"prompt": GRAPH, "extra_data": {"extra_pnginfo": {"workflow": EDITOR}}}, CLEAN, EDITOR),
        ({"prompt": {"class_type": "A", "inputs": {}}}, {"prompt": {"class_type": "A", "inputs": {}}}, None),
    ],
)
def test_forms_are_told_apart(sent: Any, prompt: Any, editors: Any) -> None:
    graph, found = submitted(sent)

    assert (graph and graph.prompt, found) == (prompt, editors)


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        ({"templates": [{"name": "a", "data": "{}"}]}, "clippings"),
        ({}, "no nodes"),
        (None, "object of nodes"),
        ("a cat", "object of nodes"),
        ({"1": {"inputs": {}}}, "no class_type"),
        ({"1": {"class_type": "A"}, "2": {"inputs": {}}}, "Node '2' has no class_type"),
        ({"prompt": {"1": {"inputs": {}}}}, "no class_type"),
    ],
)
def test_what_is_neither_is_refused_as_a_graph_of_the_apis(sent: Any, says: str) -> None:
    with pytest.raises(InvalidGraph, match=says):
        submitted(sent)


def test_the_editors_graph_goes_with_the_run_unless_it_brings_one() -> None:
    with_it = {"extra_pnginfo": {"workflow": EDITOR}}

    assert with_editor_graph(None, EDITOR) == with_it
    assert with_editor_graph({"a": 1, "extra_pnginfo": {"b": 2}}, EDITOR) == {
        "a": 1,
        "extra_pnginfo": {"b": 2, "workflow": EDITOR},
    }
    assert with_editor_graph({"extra_pnginfo": {"workflow": {"nodes": []}}}, EDITOR) == {
        "extra_pnginfo": {"workflow": {"nodes": []}}
    }
    assert with_editor_graph({"a": 1}, None) == {"a": 1}
