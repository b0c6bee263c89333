"""The models that a graph needs, for placement: a run goes first to the worker that holds them."""

from __future__ import annotations

from comfyward.workflows.graph import Graph

MODEL_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pt2", ".pth", ".bin", ".sft", ".pkl", ".gguf", ".onnx")


def models_of(graph: Graph) -> list[str]:
    """The model file names that a graph's inputs hold, sorted, once each."""
    return sorted({text for _, _, text in graph.strings() if text.lower().endswith(MODEL_SUFFIXES)})
