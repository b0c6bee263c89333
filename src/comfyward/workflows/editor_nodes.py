"""The nodes of a graph in the editor's format as they are written, also those of subgraphs, within bounds."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from typing import Any

MAX_NODES = 10_000


def written_nodes(editor_graph: Any) -> Iterator[dict[str, Any]]:
    """The nodes that have a type, each once however often its subgraph is used; MAX_NODES objects are looked at."""
    waiting, seen = deque([editor_graph]), 0
    while waiting and seen < MAX_NODES:
        seen += 1
        match waiting.popleft():
            case {"type": str()} as node:
                yield node
            case {"nodes": list(nodes), **rest}:
                waiting.extend(itertools.islice(nodes, MAX_NODES - seen))
                definitions = rest.get("definitions")
                subgraphs = definitions.get("subgraphs") if isinstance(definitions, dict) else None
                waiting.extend(itertools.islice(subgraphs if isinstance(subgraphs, list) else [], MAX_NODES - seen))
