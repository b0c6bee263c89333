"""Assets by id and files of earlier runs become names that ComfyUI can load, wherever they stand in a graph."""

from typing import Any

import pytest

from comfyward.errors import MissingAsset
from comfyward.workflows.catalog import Catalog
from comfyward.workflows.graph import parse_graph
from comfyward.workflows.references import AssetReference, Named, ResultReference, references, resolve

CATALOG = Catalog(folders={"LoadImage": {"image": "input"}, "Loader": {"ckpt": "checkpoints"}})
CAT, DOG = Named("c" * 64, 1, "cat.png"), Named("d" * 64, 2, "cat.png")


def asset(asset_id: str) -> dict[str, Any]:
    return {"__type": "core/ASSET", "info": {"id": asset_id, "hash": "blake3:…", "file_path": "a hint"}}


def graph(**inputs: Any) -> dict[str, Any]:
    return {"1": {"class_type": "LoadImage", "inputs": inputs, "_meta": {"title": "kept"}}}


def test_an_asset_becomes_the_name_of_its_file() -> None:
    prompt = graph(image=asset("cat"), width=8)

    resolved = resolve(parse_graph(prompt), {AssetReference("cat"): CAT}, CATALOG)

    assert references(parse_graph(prompt)) == {AssetReference("cat")}
    assert resolved.graph.prompt == graph(image="cat.png", width=8)
    assert resolved.files == {"/input/cat.png": CAT}


def test_assets_are_found_in_nested_lists_and_objects() -> None:
    prompt = graph(image=[[asset("cat")], {"deep": asset("cat")}])

    assert resolve(parse_graph(prompt), {AssetReference("cat"): CAT}, CATALOG).graph.prompt == graph(
        image=[["cat.png"], {"deep": "cat.png"}]
    )


def test_assets_with_the_same_name_do_not_collide() -> None:
    named = {AssetReference("cat"): CAT, AssetReference("dog"): DOG}

    resolved = resolve(parse_graph(graph(image=asset("cat"), mask=asset("dog"), again=asset("cat"))), named, CATALOG)

    other = "d" * 12 + "/cat.png"
    assert resolved.graph.prompt["1"]["inputs"] == {"image": "cat.png", "mask": other, "again": "cat.png"}
    assert resolved.files == {"/input/cat.png": CAT, f"/input/{other}": DOG}


@pytest.mark.parametrize(
    ("file_path", "text", "place"),
    [
        ("models/checkpoints/sub/x.safetensors", "sub/x.safetensors", "/models/checkpoints/sub/x.safetensors"),
        ("x.safetensors", "x.safetensors", "/models/checkpoints/x.safetensors"),
        ("models/loras/x.safetensors", "x.safetensors", "/models/checkpoints/x.safetensors"),
    ],
)
def test_a_model_is_placed_where_its_loader_looks(file_path: str, text: str, place: str) -> None:
    prompt = {"1": {"class_type": "Loader", "inputs": {"ckpt": asset("model")}}}

    resolved = resolve(parse_graph(prompt), {AssetReference("model"): Named("e" * 64, 1, file_path)}, CATALOG)

    assert resolved.graph.prompt["1"]["inputs"] == {"ckpt": text}
    assert list(resolved.files) == [place]


@pytest.mark.parametrize("info", [None, {}, {"id": 7}, {"id": ""}, "id"])
def test_a_malformed_asset_is_never_passed_on(info: Any) -> None:
    with pytest.raises(MissingAsset):
        references(parse_graph(graph(image={"__type": "core/ASSET", "info": info})))


def test_an_unknown_asset_is_refused() -> None:
    with pytest.raises(MissingAsset, match="cat"):
        resolve(parse_graph(graph(image=asset("cat"))), {}, CATALOG)


def test_a_file_of_an_earlier_run_is_brought_under_its_name() -> None:
    left = ResultReference("run1/sub/a.png", "output")
    prompt = graph(image="run1/sub/a.png [output]", other="run2/gone.png [temp]", plain="x.png [input]")

    resolved = resolve(parse_graph(prompt), {left: Named("a" * 64, 1, "run1/sub/a.png")}, CATALOG)

    assert references(parse_graph(prompt)) == {left, ResultReference("run2/gone.png", "temp")}
    assert resolved.graph.prompt["1"]["inputs"] == {
        "image": "run1/sub/a.png",
        "other": "run2/gone.png [temp]",
        "plain": "x.png [input]",
    }
    assert list(resolved.files) == ["/input/run1/sub/a.png"]
