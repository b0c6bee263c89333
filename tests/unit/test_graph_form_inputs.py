"""The form of a graph, and the graph filled in with the values of a form."""

from __future__ import annotations

from typing import Any

import pytest

from comfyward.errors import InvalidRequest, InvalidValue
from comfyward.workflows.catalog import Catalog
from comfyward.workflows.graph import names_of, parse_graph
from comfyward.workflows.inputs import Input, chosen, inputs_of, parse, shown_by_default, with_missing, with_values
from comfyward.workflows.listing import Paths

CATALOG = Catalog(
    nodes={
        "Sampler": {
            "input": {
                "required": {
                    "seed": ["INT", {"min": 0, "max": 100}],
                    "cfg": ["FLOAT", {"min": 0.0, "max": 30.0, "step": 0.1}],
                    "scheduler": [["normal", "karras"]],
                    "denoised": ["BOOLEAN", {}],
                    "model": ["MODEL"],
                }
            }
        },
        "Encode": {"input": {"required": {"text": ["STRING", {"multiline": True}]}}},
        "Load": {"input": {"required": {"image": [["a.png"], {}]}}},
        "Checkpoint": {"input": {"required": {"ckpt_name": [["house.safetensors"], {}]}}},
        "Save": {"input": {"required": {"filename_prefix": ["STRING", {}]}}},
    },
    folders={"Load": {"image": "input"}, "Checkpoint": {"ckpt_name": "checkpoints"}},
    models={"checkpoints": ["house.safetensors"]},
)
PROMPT: dict[str, Any] = {
    "1": {
        "class_type": "Sampler",
        "inputs": {"seed": 5, "cfg": 7.5, "scheduler": "normal", "denoised": True, "model": ["4", 0]},
    },
    "2": {"class_type": "Encode", "inputs": {"text": "a lighthouse"}, "_meta": {"title": "What to paint"}},
    "3": {"class_type": "Load", "inputs": {"image": "a.png"}},
    "4": {"class_type": "Checkpoint", "inputs": {"ckpt_name": "house.safetensors"}},
    "5": {"class_type": "Save", "inputs": {"filename_prefix": "out", "custom_node.value": 3}},
}


def by_key(catalog: Catalog | None = CATALOG) -> dict[str, Input]:
    own = Paths(["/input/a.png", "/input/mine.png", "/models/checkpoints/mine.safetensors"])
    return {each.key: each for each in inputs_of(parse_graph(PROMPT), catalog, own)}


def test_types_ranges_and_choices_come_from_the_catalog() -> None:
    found = by_key()

    assert {key: each.kind for key, each in found.items()} == {
        "1.seed": "integer",
        "1.cfg": "number",
        "1.scheduler": "choice",
        "1.denoised": "switch",
        "2.text": "long text",
        "3.image": "file",
        "4.ckpt_name": "file",
        "5.filename_prefix": "text",
        "5.custom_node.value": "integer",
    }
    assert (found["1.seed"].low, found["1.seed"].high) == (0, 100)
    assert found["2.text"].label == "What to paint: text"
    assert found["3.image"].choices == ("a.png", "mine.png")
    assert found["4.ckpt_name"].choices == ("house.safetensors", "mine.safetensors")
    assert (found["3.image"].takes_upload, found["4.ckpt_name"].takes_upload) == (True, False)


def test_a_file_that_a_run_would_not_find_is_no_choice_and_always_shown() -> None:
    prompt = {"1": {"class_type": "Load", "inputs": {"image": "gone.png"}}, "2": PROMPT["4"]}
    found = inputs_of(parse_graph(prompt), CATALOG, Paths(["/input/mine.png"]))

    assert [(each.is_here, each.choices) for each in found] == [
        (False, ("a.png", "mine.png")),
        (True, ("house.safetensors",)),
    ]
    assert [each.key for each in with_missing([found[1]], found)] == ["2.ckpt_name", "1.image"]


def test_a_colour_is_a_colour_whether_it_is_written_as_a_number_or_a_text() -> None:
    specs = {
        "number": ["INT", {"min": 0, "max": 0xFFFFFF, "display": "color"}],
        "text": ["COLOR", {}],
        "name": ["COLOR", {}],
    }
    catalog = Catalog(nodes={"Paint": {"input": {"required": specs}}})
    prompt = {"1": {"class_type": "Paint", "inputs": {"number": 0x00AA55, "text": "#00aa55", "name": "teal"}}}

    number, text, name = inputs_of(parse_graph(prompt), catalog)

    assert (number.kind, number.shown, parse(number, "#ff0080")) == ("colour", "#00aa55", 0xFF0080)
    assert (text.kind, text.shown, parse(text, "#ff0080")) == ("colour", "#00aa55", "#ff0080")
    assert name.kind == "text"
    with pytest.raises(InvalidValue):
        parse(number, "#ff00800")


def test_nodes_of_the_same_name_are_told_apart() -> None:
    nodes = [("Load", None), ("Load", None), ("Load", "Face"), ("Save", "Load Image 2"), ("Save", "  ")]
    graph = parse_graph(
        {
            str(index): {"class_type": kind, "inputs": {}, "_meta": {"title": title}}
            for index, (kind, title) in enumerate(nodes)
        }
    )

    names = names_of(graph, {"Load": "Load Image"})

    assert list(names.values()) == ["Load Image 1", "Load Image 3", "Face", "Load Image 2", "Save"]


def test_without_a_catalog_values_speak_for_themselves() -> None:
    found = by_key(None)

    assert (found["1.seed"].kind, found["1.cfg"].kind, found["1.denoised"].kind) == ("integer", "number", "switch")
    assert (found["3.image"].kind, found["2.text"].kind) == ("text", "text")


def test_a_form_begins_with_what_people_change() -> None:
    shown = shown_by_default(list(by_key().values()))

    assert [each.key for each in shown] == ["2.text", "3.image", "1.seed", "1.cfg"]
    assert [each.key for each in shown_by_default([by_key()["1.scheduler"]])] == ["1.scheduler"]


def test_a_form_keeps_the_owners_order_and_forgets_inputs_that_are_gone() -> None:
    found = chosen(list(by_key().values()), ["1.cfg", "9.gone", "1.seed"])

    assert [each.key for each in found] == ["1.cfg", "1.seed"]


def test_values_replace_and_nothing_else_changes() -> None:
    found = by_key()

    changed = with_values(PROMPT, [(found["1.seed"], 9), (found["5.custom_node.value"], 4)])

    assert changed["1"]["inputs"] == {**PROMPT["1"]["inputs"], "seed": 9}
    assert PROMPT["1"]["inputs"]["seed"] == 5
    assert changed["2"] == PROMPT["2"]
    assert changed["5"]["inputs"]["custom_node.value"] == 4


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("1.seed", " 7 ", 7),
        ("1.cfg", "8", 8.0),
        ("1.scheduler", "karras", "karras"),
        ("1.denoised", "", False),
        ("1.denoised", "on", True),
        ("2.text", "one\r\ntwo", "one\ntwo"),
    ],
)
def test_typed_values_are_converted_to_the_input_type(key: str, text: str, value: Any) -> None:
    assert parse(by_key()[key], text) == value


@pytest.mark.parametrize(
    ("key", "text"), [("1.seed", "7.5"), ("1.seed", "101"), ("1.cfg", "nan?"), ("1.cfg", "-1"), ("1.scheduler", "none")]
)
def test_an_invalid_value_names_its_input(key: str, text: str) -> None:
    with pytest.raises(InvalidRequest, match="Sampler: "):
        parse(by_key()[key], text)
