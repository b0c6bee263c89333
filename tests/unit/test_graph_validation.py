"""Certain errors are refused before the queue; checks that only ComfyUI can make are left to it."""

from __future__ import annotations

from typing import Any

import pytest

from comfyward.errors import InvalidGraph
from comfyward.workflows.catalog import Catalog
from comfyward.workflows.graph import parse_graph
from comfyward.workflows.listing import Paths
from comfyward.workflows.validation import check

FAILURES = [
    {"name": "Impact-Pack", "error": "ModuleNotFoundError: No module named 'cv2'", "classes": ["FaceDetailer"]},
    {"name": "nodes_load_3d.py", "kind": "core", "error": "OSError: no space", "classes": ["Load3D"]},
    {"name": "Presets", "kind": "class", "error": "IndexError: no preset", "classes": ["Presets"]},
]


def catalog(**more: Any) -> Catalog:
    def described(output: list[Any] | None = None, module: str = "nodes", **required: Any) -> dict[str, Any]:
        is_output = output is None
        return {"input": {"required": required}, "output": output, "output_node": is_output, "python_module": module}

    nodes = {
        "Image": described(["IMAGE"]),
        "Latent": described(["LATENT"]),
        "Matched": described(["COMFY_MATCHTYPE_V3"]),
        "Either": described(["IMAGE,MASK"]),
        "Slots": described(["*"]),
        "Save": described(images=["IMAGE", {}]),
        "Grow": described(images=["COMFY_AUTOGROW_V3", {"template": {}}]),
        "Slot": described(slot=["COMFY_DYNAMICSLOT_V3", {}], other=["COMFY_OF_TOMORROW", {}]),
        "Mask": described(mask=["MASK", {}]),
        "Text": described(text=["STRING", {}]),
        "Alike": described(image=["IMAGE", {}]),
        "Choose": described(
            mode=[["a", "b"], {}], choice=["COMBO", {"options": ["a"]}], number=["INT", {"min": "odd"}]
        ),
        "PackFile": described(module="custom_nodes.pack", file=[["a.png"], {"image_upload": True}]),
        "Lists": described(vae=[["a.safetensors"], {}], mode=[["fast"], {}]),
        "Load": described(file=[["none"], {"file_upload": True}]),
        "Paint": described(mask=["STRING", {"image_upload": True}]),
        "Odd": described(wrong="IMAGE", empty=[]),
    }
    data = {
        "nodes": nodes,
        "folders": {
            "PackFile": {"file": "input"},
            "Load": {"file": "input"},
            "Paint": {"mask": "input"},
            "Lists": {"vae": "vae"},
        },
        "unchecked": {"PackFile": ["file"]},
        "kinds": {"vae": [["models/vae", "name", "", "", None]]},
        "follows": {"Lists": ["models/vae_approx"]},
        "open_types": {"Slots": {"inputs": [], "outputs": True}, "Alike": {"inputs": ["image"], "outputs": False}},
        "failures": FAILURES,
        **more,
    }
    return Catalog.from_json(data)


CATALOG = catalog()


def types(graph: dict[str, tuple[str, dict[str, Any]]], *files: str, known: Catalog = CATALOG) -> list[str]:
    prompt = {node_id: {"class_type": name, "inputs": inputs} for node_id, (name, inputs) in graph.items()}
    return [problem.type for problem in check(parse_graph(prompt), known, Paths(files)).problems]


@pytest.mark.parametrize(
    "graph",
    [
        {"1": ("Image", {}), "2": ("Grow", {"images.image0": ["1", 0]})},
        {"2": ("Slot", {})},
        {"2": ("Slot", {"slot": [1, 2, 3], "other": ["9", 0]})},
        {"1": ("Load", {"file": "none"})},
        {"1": ("Load", {"file": ""})},
        {"1": ("Paint", {"mask": "a text"})},
        {"1": ("Matched", {}), "2": ("Save", {"images": ["1", 0]})},
        {"1": ("Either", {}), "2": ("Mask", {"mask": ["1", 0]})},
        {"1": ("Slots", {}), "2": ("Mask", {"mask": ["1", 12]})},
        {"1": ("Latent", {}), "2": ("Alike", {"image": ["1", 0]})},
        {"1": ("Image", {}), "2": ("Save", {"images": ["1", -1]})},
        {"1": ("Choose", {"mode": "a", "choice": "a", "number": 1})},
        {"1": ("PackFile", {"file": "https://example.com/a.png"})},
        {"1": ("Odd", {})},
        {"1": ("Presets", {"anything": ["nobody", 7]})},
    ],
)
def test_checks_only_comfyui_can_make_are_left_to_it(graph: dict[str, Any]) -> None:
    assert types(graph) == []


def test_nodes_behind_inputs_that_are_not_declared_are_not_checked() -> None:
    graph = {"1": ("Text", {"text": "x", "loras": ["2", 0]}), "2": ("Choose2", {})}
    known = catalog(nodes={**CATALOG.nodes, "Choose2": {**CATALOG.nodes["Choose"], "output_node": False}})

    assert types(graph, known=known) == []
    graph["1"] = ("Grow", {"images.image0": ["2", 0]})
    assert set(types(graph, known=known)) == {"required_input_missing"}


@pytest.mark.parametrize(
    ("graph", "type_"),
    [
        ({"1": ("Latent", {}), "2": ("Save", {"images": ["1", 0]})}, "return_type_mismatch"),
        ({"1": ("Image", {}), "2": ("Save", {"images": ["1", -2]})}, "bad_linked_input"),
        ({"1": ("Save", {})}, "required_input_missing"),
        ({"1": ("Load", {"file": "nobody.png"})}, "value_not_in_list"),
        ({"1": ("Choose", {"mode": "c", "choice": "a", "number": 1})}, "value_not_in_list"),
        ({"1": ("Choose", {"mode": "a", "choice": "c", "number": 1})}, "value_not_in_list"),
        ({"1": ("Lists", {"vae": "b.safetensors", "mode": "fast"})}, "value_not_in_list"),
    ],
)
def test_certain_errors_are_refused(graph: dict[str, Any], type_: str) -> None:
    assert types(graph) == [type_]


def test_dependency_cycles_name_their_nodes() -> None:
    invert = {**CATALOG.nodes["Save"], "output": ["IMAGE"], "output_node": False}
    known = catalog(nodes={**CATALOG.nodes, "Invert": invert})
    graph = {
        "a": {"class_type": "Invert", "inputs": {"images": ["b", 0]}},
        "b": {"class_type": "Invert", "inputs": {"images": ["a", 0]}},
        "3": {"class_type": "Save", "inputs": {"images": ["a", 0]}},
    }
    with pytest.raises(InvalidGraph) as refused:
        check(parse_graph(graph), known, Paths(())).raise_if_any()

    errors = refused.value.details["node_errors"]
    assert {node_id: error["errors"][0]["type"] for node_id, error in errors.items()} == dict.fromkeys(
        "ab", "dependency_cycle"
    )
    assert "(Invert) -> " in str(refused.value.hint)
    assert errors["a"]["errors"][0]["details"] in str(refused.value.hint)


def test_a_choice_that_comfyui_does_not_compare_is_left_to_it() -> None:
    graph = {"1": ("Choose", {"mode": "a", "choice": "c", "number": 1})}

    assert types(graph, known=catalog(checks_combos=False)) == []


def test_a_list_that_a_runs_files_may_change_is_left_to_comfyui() -> None:
    graph = {"1": ("Lists", {"vae": "taesd", "mode": "slow"})}

    assert types(graph, "/models/vae/other.safetensors") == ["value_not_in_list", "value_not_in_list"]
    assert types(graph, "/models/vae_approx/taesd_encoder.safetensors") == []
    assert types(graph, known=catalog(follows={"Lists": ["*"]})) == []


@pytest.mark.parametrize(
    ("class_type", "said"),
    [
        ("FaceDetailer", "it comes from Impact-Pack, which did not load: ModuleNotFoundError: No module named 'cv2'"),
        ("Load3D", "it comes from nodes_load_3d.py, which did not load: OSError: no space"),
        (
            "Nobody",
            "Impact-Pack did not load: ModuleNotFoundError: No module named 'cv2'; nodes_load_3d.py did not load",
        ),
    ],
)
def test_a_missing_class_says_what_did_not_load(class_type: str, said: str) -> None:
    verdict = check(parse_graph({"1": {"class_type": class_type, "inputs": {}}}), CATALOG, Paths(()))

    assert said in verdict.problems[0].message


@pytest.mark.parametrize(
    ("value", "listings", "place"),
    [
        ("bbox/face.pt", [["models/seg", "name", "bbox/", "", [".pt"]]], "/models/seg/face.pt"),
        (
            "sharp",
            [[f"models/{folder}", "stem", "", "", [".bin", ".safetensors"]] for folder in ("clip", "vae")],
            "/models/vae/sharp.safetensors",
        ),
    ],
)
def test_the_hint_names_the_folder_of_a_derived_file_name(value: str, listings: list[Any], place: str) -> None:
    known = catalog(listings={"Lists": {"vae": listings}})
    prompt = {"1": {"class_type": "Lists", "inputs": {"vae": value, "mode": "fast"}}}

    with pytest.raises(InvalidGraph) as caught:
        check(parse_graph(prompt), known, Paths(())).raise_if_any()
    assert f'"{place}"' in str(caught.value.hint)


def test_a_catalog_of_an_older_worker_is_read() -> None:
    older = Catalog.from_json({"nodes": CATALOG.nodes, "folders": {"Lists": {"vae": "vae"}}, "models": {"vae": []}})
    graph = {"1": ("Lists", {"vae": "mine.pt", "mode": "fast"})}

    assert types(graph, known=older) == ["value_not_in_list"]
    assert types(graph, "/models/vae/mine.pt", known=older) == []
    assert older.places("Lists", "vae", "sub/mine.pt") == {"/models/vae/sub/mine.pt"}
