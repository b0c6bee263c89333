"""The run object's metadata, and the names by which files are attached."""

from typing import Any

import pytest

from comfyward.workflows.catalog import Catalog
from comfyward.workflows.graph import describe, parse_graph
from comfyward.workflows.listing import Listing, Paths
from comfyward.workflows.needs import models_of, places_named
from comfyward.workflows.separators import with_slashes

CATALOG = Catalog.from_json(
    {
        "comfyui_version": "0.3.75",
        "nodes": {
            "CheckpointLoaderSimple": {"python_module": "nodes"},
            "FancyNode": {"python_module": "custom_nodes.fancy-pack"},
        },
        "folders": {
            "CheckpointLoaderSimple": {"ckpt_name": "checkpoints"},
            "UNETLoader": {"unet_name": "diffusion_models"},
        },
        "kinds": {
            "diffusion_models": [
                ["models/unet", "name", "", "", None],
                ["models/diffusion_models", "name", "", "", None],
            ],
            "loras": [["models/loras", "name", "", "", None]],
            "embeddings": [["models/embeddings", "name", "", "", None]],
            "ultralytics": [["models/ultralytics", "name", "", "", None]],
            "unet_gguf": [["models/unet", "name", "", "", [".gguf"]]],
        },
        "listings": {
            "UltralyticsDetectorProvider": {"model_name": [["models/ultralytics/bbox", "name", "bbox/", "", [".pt"]]]},
            "VAELoader": {"vae_name": [["models/vae", "stem", "vae: ", "", [".safetensors", ".pt"]]]},
        },
    }
)
GRAPH = parse_graph(
    {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd15.safetensors"}},
        "2": {"class_type": "FancyNode", "inputs": {"image": "photo.png", "text": "a cat. and\na dog."}},
        "3": {"class_type": "UNETLoader", "inputs": {"unet_name": "flux.gguf"}},
    }
)


def test_metadata_is_derived_from_the_graph() -> None:
    editor = {
        "nodes": [{"type": "Note", "widgets_values": ["remember"]}, {"type": "KSampler", "widgets_values": [1]}],
        "groups": [{"title": "Sampling"}, "odd"],
    }

    metadata = describe(GRAPH, {"extra_pnginfo": {"workflow": editor}}, CATALOG.packs)

    assert metadata == {
        "extensions": ["comfyanonymous__ComfyUI", "fancy-pack"],
        "nodes": ["CheckpointLoaderSimple", "FancyNode", "UNETLoader"],
        "checkpoints": ["sd15.safetensors"],
        "notes": [{"text": "remember"}],
        "groups": ["Sampling"],
    }


def test_extra_data_of_any_shape_does_no_harm() -> None:
    for odd in (None, [], {"extra_pnginfo": 1}, {"extra_pnginfo": {"workflow": {"nodes": 1, "groups": {}}}}):
        assert describe(GRAPH, odd, {})["notes"] == []


def test_the_models_of_a_graph() -> None:
    assert models_of(GRAPH) == ["flux.gguf", "sd15.safetensors"]


def test_folders_where_a_named_file_may_lie() -> None:
    assert places_named(GRAPH, CATALOG).paths == {
        "/models/checkpoints/sd15.safetensors",
        "/input/photo.png",
        "/models/diffusion_models/flux.gguf",
        "/models/unet/flux.gguf",
        "/input/a cat. and\na dog.",  # a name may hold anything
    }
    assert "/input/photo.png" in places_named(GRAPH, None).paths


@pytest.mark.parametrize(
    "text", ["12345", "no suffix", "a\nb", "e\u0301.png", " x ", "...", "50%#?.png", "-x", "é" * 127]
)
def test_any_text_may_be_a_name(text: str) -> None:
    assert named(image=text) == named(image=f"{text} [input]") == {f"/input/{text}"}


def test_a_text_may_name_a_folder() -> None:
    catalog = Catalog(
        nodes={"Folders": {"input": {"required": {"folder": ["COMBO", {"options": []}], "mode": [["fast"]]}}}},
        listings={"Folders": {"folder": [Listing("input", "folder")]}, "Models": {"lora": [Listing("models/loras")]}},
    )
    graph = parse_graph(
        {
            "1": {"class_type": "Folders", "inputs": {"folder": "mine/of today", "mode": "fast"}},
            "2": {"class_type": "Models", "inputs": {"lora": "x.safetensors", "directory": "any\\where"}},
            "3": {"class_type": "Folders", "inputs": {"folder": "../out"}},
        }
    )

    assert places_named(graph, catalog).folders == {"/input/mine/of today", "/input/any\\where", "/input/any/where"}


def with_names(catalog: Catalog, brought: list[str], **inputs: Any) -> dict[str, Any]:
    prompt = {"1": {"class_type": "Loader", "inputs": inputs, "_meta": {}}}
    return with_slashes(parse_graph(prompt), catalog, Paths(brought)).nodes["1"].inputs


def test_names_with_backslashes_are_those_with_slashes_where_only_these_are_known() -> None:
    catalog = Catalog(
        nodes={"Loader": {"input": {"required": {"ckpt": [["SDXL/known.safetensors", "odd\\one.safetensors"]]}}}},
        listings={"Loader": {"ckpt": [Listing("models/checkpoints")]}},
        models={"loras": ["style/x.safetensors"]},
    )
    brought = ["/models/checkpoints/SDXL/mine.safetensors", "/input/sub/a.png", "/input/odd\\b.png", "/input/odd/b.png"]

    for given, wanted in (
        ("SDXL\\known.safetensors", "SDXL/known.safetensors"),
        ("SDXL\\mine.safetensors", "SDXL/mine.safetensors"),
        ("odd\\one.safetensors", "odd\\one.safetensors"),
        ("none\\one.safetensors", "none\\one.safetensors"),
    ):
        assert with_names(catalog, brought, ckpt=given) == {"ckpt": wanted}
    for given, wanted in (
        ("sub\\a.png", "sub/a.png"),
        ("odd\\b.png", "odd\\b.png"),
        ("style\\x.safetensors", "style/x.safetensors"),
        ("a \\(cat\\)", "a \\(cat\\)"),
    ):
        assert with_names(catalog, brought, text=given, more={"in": [given, 1]}) == {
            "text": wanted,
            "more": {"in": [wanted, 1]},
        }


def test_a_graph_stays_the_same_without_backslashes() -> None:
    prompt = {"1": {"class_type": "Loader", "inputs": {"text": "plain"}}}
    graph = parse_graph(prompt)

    assert with_slashes(graph, None, Paths([])) is graph


def named(catalog: Catalog | None = CATALOG, class_type: str = "FancyNode", **inputs: Any) -> set[str]:
    return places_named(parse_graph({"1": {"class_type": class_type, "inputs": inputs}}), catalog).paths


@pytest.mark.parametrize(
    "value",
    [
        {"on": True, "lora": "sub/x.safetensors", "strength": 1},  # rgthree's Power Lora Loader
        ["sub/x.safetensors"],
        {"deep": [{"deeper": ["sub/x.safetensors", 1.0]}]},
        '{"loras": [{"name": "sub/x.safetensors"}]}',  # a widget that keeps JSON
        ' ["sub/x.safetensors"]',
        {"__value__": ["sub/x.safetensors", "more"]},
        "sub/./x.safetensors",
    ],
)
def test_names_in_objects_lists_and_json_are_seen(value: Any) -> None:
    found = named(lora_1=value)

    assert {"/models/loras/sub/x.safetensors", "/models/unet/sub/x.safetensors"} <= found
    assert "/input/sub/x.safetensors" in found


def test_links_and_what_only_looks_like_json_are_no_names() -> None:
    assert named(image=["4", 0], text="{a cat|a dog}", other="[not json", more='{"a": ') == {
        "/input/{a cat|a dog}",
        "/input/[not json",
        '/input/{"a": ',
    }
    assert named(lora={"name": "../../etc/passwd.safetensors"}) == set()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a cat, embedding:bad-hands", "bad-hands"),
        ("embedding:bad-hands.pt, a cat", "bad-hands.pt"),
        ("(embedding:bad-hands:1.2) cat", "bad-hands"),
        ("((embedding:bad-hands))", "bad-hands"),
        ("embedding:styles/bad-hands,", "styles/bad-hands"),
        ("a\nembedding:bad-hands\nb", "bad-hands"),
        ("embedding:hands\\(v2\\)", "hands(v2)"),
        ("embedding:a, embedding:bad-hands:0.5", "bad-hands"),
        ("[cat:embedding:bad-hands:0.5]", "bad-hands"),
    ],
)
def test_embeddings_that_a_text_names(text: str, name: str) -> None:
    found = named(class_type="CLIPTextEncode", text=text)

    assert {f"/models/embeddings/{name}{suffix}" for suffix in ("", ".safetensors", ".pt", ".bin")} <= found
    assert f"/models/embeddings/{name}.pt" in named(None, class_type="CLIPTextEncode", text=text)


def test_loras_that_a_prompt_names() -> None:
    assert "/models/loras/sub/ink.safetensors" in named(text="a cat <lora:sub/ink:0.8> by night")


def test_a_choice_maps_back_to_its_file() -> None:
    assert named(class_type="UltralyticsDetectorProvider", model_name="bbox/face.pt") == {
        "/models/ultralytics/bbox/face.pt"
    }
    assert named(class_type="VAELoader", vae_name="vae: sharp") == {
        "/models/vae/sharp.safetensors",
        "/models/vae/sharp.pt",
    }
    assert named(class_type="VAELoader", vae_name="sharp") == set()


def test_a_file_counts_for_every_folder_that_searches_its_directory() -> None:
    paths = ["/models/unet/a.gguf", "/models/unet/b.pt", "/models/ultralytics/bbox/face.pt", "/models/new/x.bin"]

    names = CATALOG.names(Paths([*paths, "/models/loras/sub/b.safetensors", "/input/x/y.png"]))

    assert names["diffusion_models"] == {"a.gguf", "b.pt"}
    assert names["unet_gguf"] == {"a.gguf"}
    assert names["ultralytics"] == {"bbox/face.pt"}
    assert names["new"] == {"x.bin"}
    assert names["loras"] == {"sub/b.safetensors"}
    assert names["input"] == {"x/y.png"}
