"""Classes that a new revision gains and loses, and those whose inputs are others; lists of models do not count."""

from __future__ import annotations

from typing import Any

from comfyward.workflows.catalog import Catalog
from comfyward.workflows.node_changes import NodeChanges, node_changes


def catalog(**nodes: Any) -> Catalog:
    return Catalog(nodes=nodes)


def entry(output: str = "IMAGE", **required: Any) -> dict[str, Any]:
    return {"input": {"required": required, "hidden": {"prompt": "PROMPT"}}, "output": [output]}


def test_classes_come_go_and_change() -> None:
    before = catalog(
        Gone=entry(),
        Same=entry(image=["IMAGE"]),
        Lists=entry(model=[["a.safetensors"], {}]),
        Retyped=entry(size=["INT", {"default": 1}]),
        Default=entry(size=["INT", {"default": 1}]),
        Output=entry(),
        Combo=entry(mode=["COMBO", {"options": ["a"]}]),
    )
    after = catalog(
        New=entry(),
        Same=entry(image=["IMAGE"]),
        Lists=entry(model=[["b.safetensors"], {}]),
        Retyped=entry(size=["FLOAT", {"default": 1}]),
        Default=entry(size=["INT", {"default": 2}]),
        Output=entry("MASK"),
        Combo=entry(mode=[["a", "b"]]),
    )

    assert node_changes(before, after) == NodeChanges(("New",), ("Gone",), ("Output", "Retyped"))
    assert node_changes(after, after) == NodeChanges((), (), ())


def test_a_node_in_an_unknown_form_is_compared_as_it_is() -> None:
    assert node_changes(catalog(A={"input": 7}), catalog(A={})).changed == ()
    assert node_changes(catalog(A={"input": {"required": 7}}), catalog(A={"input": {"optional": {}}})).changed == ("A",)
