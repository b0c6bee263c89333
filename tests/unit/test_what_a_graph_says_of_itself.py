"""The run object's metadata, and the names by which files are attached."""

from comfyward.workflows.catalog import Catalog, brought_names
from comfyward.workflows.graph import describe, parse_graph
from comfyward.workflows.needs import models_of, paths_named

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


def test_where_a_named_file_would_lie() -> None:
    assert paths_named(GRAPH, CATALOG) == {
        "/models/checkpoints/sd15.safetensors",
        "/input/photo.png",
        "/models/diffusion_models/flux.gguf",
        "/models/unet/flux.gguf",
    }
    assert "/input/photo.png" in paths_named(GRAPH, None)


def test_a_file_counts_for_every_folder_that_searches_its_directory() -> None:
    names = brought_names(["/models/unet/a.gguf", "/models/loras/sub/b.safetensors", "/input/x/y.png"])

    assert names["diffusion_models"] == names["unet"] == {"a.gguf"}
    assert names["loras"] == {"sub/b.safetensors"}
    assert names["input"] == {"x/y.png"}
