"""The packs that a graph in the editor's format names for its nodes: a suggestion, since whoever made it wrote them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from comfyward.workflows.editor_nodes import written_nodes

CORE_ID = "comfy-core"
MAX_LENGTH = 200


@dataclass(frozen=True)
class Noted:
    """The properties of a node: an id and version of the Comfy Registry, or OWNER/NAME on GitHub."""

    cnr_id: str = ""
    version: str = ""
    aux_id: str = ""


def noted_in(editor_graph: str | None) -> dict[str, Noted]:
    """The notes in a graph as text; none without one. Takes seconds for the largest."""
    return packs_noted(msgspec.json.decode(editor_graph)) if editor_graph else {}


def packs_noted(editor_graph: Any) -> dict[str, Noted]:
    """The notes by class, also of nodes in subgraphs; the first one of a class counts."""
    found: dict[str, Noted] = {}
    for node in written_nodes(editor_graph):
        match node:
            case {"type": str(name), "properties": dict(properties)}:
                noted = noted_of(properties)
                if noted.cnr_id or noted.aux_id:
                    found.setdefault(name, noted)
    return found


def noted_of(properties: dict[str, Any]) -> Noted:
    """The note of one node."""
    return Noted(*(_text(properties.get(key)) for key in ("cnr_id", "ver", "aux_id")))


def _text(value: object) -> str:
    return value if isinstance(value, str) and len(value) <= MAX_LENGTH and value.isprintable() else ""
