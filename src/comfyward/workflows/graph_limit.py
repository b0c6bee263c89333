"""The largest graph that is taken, wherever it comes from."""

from __future__ import annotations

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
        return self.check(len(msgspec.json.encode(graph)))

    def check_texts(self, *graphs: str | None) -> None:
        """Raises TooLarge if one of these JSON texts is too large."""
        for graph in graphs:
            self.check(len((graph or "").encode()))

    def check(self, size: int) -> int:
        """The size, if a graph may have it. Raises TooLarge."""
        if size > self.most:
            raise TooLarge(
                f"The graph has {size} bytes; at most {self.most} are taken.",
                hint="Upload large values as files, and name them in the graph.",
                limit=self.most,
            )
        return size
