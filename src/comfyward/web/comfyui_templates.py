"""ComfyUI's own workflow templates, from its package of templates."""

from __future__ import annotations

import functools
import itertools
from pathlib import Path
from typing import Any

import msgspec

from comfyward.web.problems import PageError

MAX_FOUND = 24


class ComfyUITemplates:
    """`folder` is None if the package is not installed."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    @property
    def are_installed(self) -> bool:
        return self._folder is not None

    def search(self, query: str) -> list[dict[str, Any]]:
        """The templates whose title or description has all words of the query, the most used first."""
        words = query.lower().split()
        matching = (
            each
            for each in self._index
            if all(word in f"{each.get('title', '')} {each.get('description', '')}".lower() for word in words)
        )
        return list(itertools.islice(matching, MAX_FOUND))

    def graph(self, name: str) -> str:
        """The editor's graph of a template, as JSON. Raises PageError."""
        path = self._folder / f"{name}.json" if self._folder is not None else None
        if path is None or path.parent != self._folder or not path.is_file():
            raise PageError(f"Template '{name}' was not found.", status=404)
        return path.read_text()

    @functools.cached_property
    def _index(self) -> list[dict[str, Any]]:
        """The templates whose graphs are in the folder. They do not change while a server runs."""
        if self._folder is None:
            return []
        categories = msgspec.json.decode((self._folder / "index.json").read_bytes())
        found = {each["name"]: each for category in categories for each in category["templates"]}
        here = [each for name, each in found.items() if (self._folder / f"{name}.json").is_file()]
        return sorted(here, key=lambda each: -int(each.get("usage", 0)))
