"""The largest graph that is taken, wherever it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from comfyward.errors import TooLarge


@dataclass(frozen=True)
class GraphLimit:
    """Bytes of JSON without spaces; the same for the API's form of a graph and the editor's."""

    most: int

    def size_of(self, graph: Any) -> int:
        """The size of a graph. Raises TooLarge."""
        return len(self.text_of(graph))

    def text_of(self, graph: Any) -> bytes:
        """A graph as JSON. Raises TooLarge."""
        text = msgspec.json.encode(graph)
        self.check(len(text))
        return text

    def check_made(self, graph: Mapping[str, Any]) -> None:
        """Raises TooLarge for a graph that was made of a smaller one, before it is whole as JSON."""
        size = 2
        for node_id, node in graph.items():
            size = self.check(size + len(msgspec.json.encode(node)) + len(node_id) + 4)

    def check(self, size: int) -> int:
        """The size, if a graph may have it. Raises TooLarge."""
        if size > self.most:
            raise TooLarge(
                f"The graph has {size} bytes; at most {self.most} are taken.",
                hint="Upload large values as files, and name them in the graph.",
                limit=self.most,
            )
        return size
