"""Graphs in files: JSON in the editor's form or the API's, and images and videos with ComfyUI's metadata."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import msgspec

from comfyward.errors import ComfywardError, InvalidGraph
from comfyward.files.pictures import extract_graphs
from comfyward.python_json import NOT_JSON, read_answer
from comfyward.store.rows import text_of as json_text
from comfyward.web.problems import PageError
from comfyward.workflows.graph import parse_graph

EXPORT = "Export it from ComfyUI again with File > Export."
MEDIA_SUFFIXES = (".png", ".webp", ".mp4", ".webm", ".mkv")


async def graphs_in(name: Path, data: bytes) -> dict[str, str]:
    """`graph` (the API's form) and `editor_graph`, as JSON, or one of them. Raises PageError if there is none."""
    return await _in_media(name, data) if name.suffix.lower() in MEDIA_SUFFIXES else _in_json(data)


def _in_json(data: bytes) -> dict[str, str]:
    try:
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


async def _in_media(name: Path, data: bytes) -> dict[str, str]:
    with tempfile.TemporaryDirectory(prefix="cw-import-") as folder:
        source, target = Path(folder) / f"source{name.suffix.lower()}", Path(folder) / "graphs.json"
        source.write_bytes(data)
        texts = msgspec.json.decode(target.read_bytes()) if await extract_graphs(source, target) else {}
    graphs: dict[str, str] = {}
    for text in texts.values():
        try:
            graphs |= _in_json(text.encode())
        except ComfywardError:
            continue  # another program's metadata under the same name
    if not graphs:
        hint = "ComfyUI embeds the workflow in images it saves; editing or converting an image removes it."
        raise PageError(f"'{name.name}' does not contain a ComfyUI workflow.", hint=hint)
    return graphs
