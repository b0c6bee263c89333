"""The models and files that a graph needs: for placement, and to attach what an account has under a plain name."""

from __future__ import annotations

from comfyward.workflows.catalog import FOLDER_DIRECTORIES, INPUT_FOLDER, Catalog
from comfyward.workflows.graph import Graph

MODEL_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pt2", ".pth", ".bin", ".sft", ".pkl", ".gguf", ".onnx")
MAX_NAME_LENGTH = 512


def models_of(graph: Graph) -> list[str]:
    """The model file names that a graph's inputs hold, sorted, once each."""
    return sorted({text for _, _, text in graph.strings() if text.lower().endswith(MODEL_SUFFIXES)})


def paths_named(graph: Graph, catalog: Catalog | None) -> set[str]:
    """Where a file would lie for which a graph's text stands: below /input, or below the input's model folder."""
    paths: set[str] = set()
    for node, input_name, named in graph.strings():
        text = named.removesuffix(" [input]")  # ComfyUI's own word for where it looks anyway
        if "." not in text or "\n" in text or len(text) > MAX_NAME_LENGTH:
            continue
        folder = catalog.folder(node.class_type, input_name) if catalog else None
        if folder in (None, INPUT_FOLDER):
            paths.add(f"/input/{text}")
        else:
            assert folder is not None
            paths.update(f"/models/{directory}/{text}" for directory in FOLDER_DIRECTORIES.get(folder, (folder,)))
    return paths
