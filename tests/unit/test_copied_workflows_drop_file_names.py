"""A workflow that somebody else takes over: whatever named the owner's files is empty, all else is as it was."""

from __future__ import annotations

import json
from typing import Any

from comfyward.workflows.catalog import Catalog
from comfyward.workflows.copies import Cleaner

CATALOG = Catalog(
    nodes={
        "LoadImage": {"input": {"required": {"image": [[], {"image_upload": True}]}}},
        "Describe": {"input": {"required": {"image": [[], {}], "words": ["STRING", {}], "mode": [["a.b", "c"], {}]}}},
        "KSampler": {"input": {"required": {"sampler_name": [["euler", "dpmpp"], {}]}}},
        "Loader": {"input": {"required": {"ckpt_name": [["house.safetensors"], {}]}}},
        "Text": {"input": {"required": {"text": ["STRING", {}]}}},
    },
    folders={"LoadImage": {"image": "input"}, "Describe": {"image": "input"}, "Loader": {"ckpt_name": "checkpoints"}},
    models={"checkpoints": ["house.safetensors"]},
)
OWNERS = ["anna.png", "holiday/beach.jpg", "euler", "clip.mp4", "voice"]


def cleaner(usable: tuple[str, ...] = ("shared.png",), catalog: Catalog | None = CATALOG) -> Cleaner:
    return Cleaner(catalog, OWNERS, usable)


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": "Mine"}}


def test_file_inputs_are_emptied_and_nothing_else_changes() -> None:
    prompt = {
        "1": node("LoadImage", image="anna.png"),
        "2": node("LoadImage", image="deleted long ago"),
        "3": node("LoadImage", image="shared.png"),
        "4": node("LoadImage", image="shared.png [input]"),
        "5": node("LoadImage", image="Xy12/picture_00001_.png [output]"),
        "6": node("KSampler", sampler_name="euler", seed=5, model=["7", 0]),
        "7": node("Loader", ckpt_name="private.safetensors"),
        "8": node("Text", text="anna.png was a fine picture"),
        "9": node("Describe", image="beach", words="v2.0", mode="a.b"),
    }

    cleaned = cleaner().graph(prompt)

    emptied = {"1", "2", "5", "9"}
    assert cleaned == {
        key: node("LoadImage", image="") if key in emptied - {"9"} else prompt[key] for key in prompt
    } | {"9": node("Describe", image="", words="v2.0", mode="a.b")}
    assert prompt["1"]["inputs"]["image"] == "anna.png"


def test_file_names_are_found_at_any_depth() -> None:
    prompt = {
        "1": node("Pack", video="clip.mp4", parts=[{"name": "voice", "on": True}], folder="holiday", note="mine"),
        "2": node("Pack", asset={"__type": "core/ASSET", "info": {"id": "1", "file_path": "anna.png"}}),
    }

    cleaned = cleaner().graph(prompt)

    assert cleaned["1"]["inputs"] == {"video": "", "parts": [{"name": "", "on": True}], "folder": "", "note": "mine"}
    assert cleaned["2"]["inputs"] == {"asset": ""}
    assert cleaner(catalog=None).graph(prompt) == cleaned


def test_the_editor_graph_names_no_files_either() -> None:
    editor = {
        "nodes": [
            {"id": 1, "type": "LoadImage", "widgets_values": ["gone.png", "image"], "properties": {"last": "anna.png"}},
            {"id": 2, "type": "LoadImage", "mode": 4, "widgets_values": ["muted and deleted.png", "image"]},
            {"id": 3, "type": "VHS", "widgets_values": {"video": "clip.mp4", "preview": {"params": {"f": "clip.mp4"}}}},
            {"id": 4, "type": "Describe", "widgets_values": ["x.png", "v2.0", "a.b"]},
            {"id": 5, "type": "KSampler", "widgets_values": [5, "fixed", "euler"]},
            {"id": 6, "type": "PrimitiveNode", "widgets_values": ["anna.png", "fixed"]},
        ],
        "definitions": {"subgraphs": [{"nodes": [{"type": "LoadImage", "widgets_values": ["anna.png"]}]}]},
        "extra": {"groupNodes": {"g": {"nodes": [{"type": "LoadImage", "widgets_values": ["run/x.png [temp]"]}]}}},
        "links": [[1, 1, 0, 2, 0, "IMAGE"]],
    }
    cleaning = cleaner()
    cleaning.graph({"1": node("LoadImage", image="gone.png"), "4": node("Describe", image="x.png", words="v2.0")})

    cleaned = cleaning.editor_graph(editor)

    nodes = [each["widgets_values"] for each in cleaned["nodes"]]
    assert nodes == [
        ["", "image"],
        ["", "image"],
        {"video": "", "preview": {"params": {"f": ""}}},
        ["", "v2.0", "a.b"],
        [5, "fixed", "euler"],
        ["", "fixed"],
    ]
    assert cleaned["nodes"][0]["properties"] == {"last": ""}
    assert cleaned["definitions"]["subgraphs"][0]["nodes"][0]["widgets_values"] == [""]
    assert cleaned["extra"]["groupNodes"]["g"]["nodes"][0]["widgets_values"] == [""]
    assert cleaned["links"] == editor["links"]
    assert not any(name in json.dumps(cleaned) for name in ("anna", "clip", "gone.png", "deleted"))
