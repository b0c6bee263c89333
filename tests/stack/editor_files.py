"""Workflows as ComfyUI's editor saves them."""

from __future__ import annotations

from typing import Any


def node(node_id: int, kind: str, *values: Any, **more: Any) -> dict[str, Any]:
    return {"id": node_id, "type": kind, "widgets_values": list(values), **more}


def text_to_image_file(checkpoint: str, **properties: Any) -> dict[str, Any]:
    """A picture from words, whose loader, named "The model", is in a subgraph and has these properties."""
    loader = node(4, "CheckpointLoaderSimple", checkpoint, title="The model", properties=properties)
    definition = {
        "id": "loading",
        "name": "Loading",
        "nodes": [loader],
        "links": [_inner(1, 4, 0, 0, "MODEL"), _inner(2, 4, 1, 1, "CLIP"), _inner(3, 4, 2, 2, "VAE")],
        "inputs": [],
        "outputs": [
            {"name": kind, "type": kind, "linkIds": [number]} for number, kind in enumerate(("MODEL", "CLIP", "VAE"), 1)
        ],
    }
    return {
        "nodes": [
            node(12, "loading"),
            node(6, "CLIPTextEncode", "a lighthouse"),
            node(7, "CLIPTextEncode", "blurry"),
            node(5, "EmptyLatentImage", 64, 64, 1),
            node(3, "KSampler", 1, "fixed", 4, 5.0, "euler", "normal", 1.0),
            node(8, "VAEDecode"),
            node(9, "SaveImage", "picture"),
            node(10, "MarkdownNote", "Nothing to see."),
        ],
        "links": [
            [1, 12, 1, 6, 0, "CLIP"],
            [2, 12, 1, 7, 0, "CLIP"],
            [3, 12, 0, 3, 0, "MODEL"],
            [4, 6, 0, 3, 1, "CONDITIONING"],
            [5, 7, 0, 3, 2, "CONDITIONING"],
            [6, 5, 0, 3, 3, "LATENT"],
            [7, 3, 0, 8, 0, "LATENT"],
            [8, 12, 2, 8, 1, "VAE"],
            [9, 8, 0, 9, 0, "IMAGE"],
        ],
        "definitions": {"subgraphs": [definition]},
    }


def _inner(link_id: int, origin: int, slot: int, output: int, kind: str) -> dict[str, Any]:
    ends = {"origin_id": origin, "origin_slot": slot, "target_id": -20, "target_slot": output}
    return {"id": link_id, **ends, "type": kind}
