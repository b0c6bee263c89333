"""Graphs in files: JSON in the editor's form or the API's, and images and videos with ComfyUI's metadata."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import msgspec

from comfyward.dispatch.heavy import HEAVY
from comfyward.errors import ComfywardError, InvalidGraph
from comfyward.files.pictures import Decoders
from comfyward.python_json import NOT_JSON, read_answer, refuse_many
from comfyward.sandbox.temporary import TemporaryFolder
from comfyward.store.rows import text_of as json_text
from comfyward.web.problems import PageError
from comfyward.workflows.graph import parse_graph

EXPORT = "Export it from ComfyUI again with File > Export."
MEDIA_SUFFIXES = (".png", ".webp", ".mp4", ".webm", ".mkv")


async def graphs_in(decoders: Decoders, owner: str, name: Path, data: bytes) -> dict[str, str]:
    """`graph` (the API's form) and `editor_graph`, as JSON, or one of them. Raises PageError if there is none."""
    if name.suffix.lower() in MEDIA_SUFFIXES:
        return await _in_media(decoders, owner, name, data)
    return await HEAVY.run(owner, len(data), lambda: _in_json(data))


def _in_json(data: bytes) -> dict[str, str]:
    try:
        refuse_many(data)
        found = read_answer(data)
    except NOT_JSON as error:
        raise PageError("This file could not be read.", hint=EXPORT) from error
    if isinstance(found, dict) and isinstance(found.get("nodes"), list):
        return {"editor_graph": json_text(found)}
    if isinstance(found, dict) and isinstance(found.get("prompt"), dict):
        found = found["prompt"]  # the body of a request to the API
    try:
        parse_graph(found)
    except InvalidGraph as error:
        raise PageError("This file does not contain a ComfyUI workflow.", hint=EXPORT) from error
    return {"graph": json_text({node_id: _node(node) for node_id, node in found.items()})}


def _node(node: dict[str, Any]) -> dict[str, Any]:
    """A node without what ComfyUI adds to it while it runs (`is_changed`) and saves in images, too."""
    return {name: value for name, value in node.items() if name in ("class_type", "inputs", "_meta")}


async def _in_media(decoders: Decoders, owner: str, name: Path, data: bytes) -> dict[str, str]:
    with TemporaryFolder() as folder:
        source, target = folder / f"source{name.suffix.lower()}", folder / "graphs.json"
        source.write_bytes(data)
        has_texts = await decoders.graphs(owner, source, target)
        texts = msgspec.json.decode(target.read_bytes()) if has_texts else {}
    graphs: dict[str, str] = {}
    for text in texts.values():
        try:
            graphs |= await HEAVY.run(owner, len(text), functools.partial(_in_json, text.encode()))
        except ComfywardError:
            continue  # another program's metadata under the same name
    if not graphs:
        hint = "ComfyUI embeds the workflow in images it saves; editing or converting an image removes it."
        raise PageError(f"'{name.name}' does not contain a ComfyUI workflow.", hint=hint)
    return graphs
