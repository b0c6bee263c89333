"""ComfyUI's own workflow templates, from its package of templates.

(Source of the format: `index.json` of comfyui-workflow-templates. `size` is in bytes, of all models together.)
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from comfyward.api.native.free_templates import is_free
from comfyward.python_json import read_answer
from comfyward.web.problems import PageError

MEDIA = ("image", "video", "audio", "3d")


@dataclass(frozen=True)
class Template:
    """A template. `medium` is what it makes, `model_bytes` the size of its models, 0 if that is not told.

    `comfyui` is the version that it was made for, "" if that is not told.
    """

    name: str
    title: str
    description: str
    medium: str
    model_bytes: int
    usage: int
    comfyui: str

    def has(self, words: list[str]) -> bool:
        """True if all words, in lower case, are in its title or description."""
        text = f"{self.title} {self.description}".lower()
        return all(word in text for word in words)


class ComfyUITemplates:
    """`folder` is None if the package is not installed."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    @property
    def are_installed(self) -> bool:
        return self._folder is not None

    @functools.cached_property
    def all(self) -> tuple[Template, ...]:
        """Those that need nobody's paid service, the most used first. They do not change while a server runs."""
        found = {name: template for name, template in self._listed() if self._path(name).is_file()}
        return tuple(sorted(found.values(), key=lambda template: -template.usage))

    def graph(self, name: str) -> dict[str, Any]:
        """The editor's graph of a template. Raises PageError."""
        if name not in {template.name for template in self.all}:
            raise PageError(f"Template '{name}' was not found.", status=404)
        graph: dict[str, Any] = read_answer(self._path(name).read_bytes())  # some have NaN
        return graph

    def _listed(self) -> list[tuple[str, Template]]:
        if self._folder is None:
            return []
        categories = msgspec.json.decode((self._folder / "index.json").read_bytes())
        return [
            (str(each["name"]), _template(each, str(category.get("type", ""))))
            for category in categories
            for each in category["templates"]
            if is_free(each)
        ]

    def _path(self, name: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{name}.json"


def _template(entry: dict[str, Any], kind: str) -> Template:
    name = str(entry["name"])
    return Template(
        name,
        str(entry.get("title") or name.replace("_", " ").capitalize()),
        str(entry.get("description") or ""),
        kind if kind in MEDIA else "image",
        int(entry.get("size") or 0),
        int(entry.get("usage") or 0),
        str(entry.get("minComfyUIVersion") or ""),
    )
