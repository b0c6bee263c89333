"""The files that an input offers, and the strings that stand for them, as found by our extension (`probes.py`). Pure.

A pack may list a folder in its own way: names with a prefix, without a suffix, of some suffixes only, or of several
folders together.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

# The part of a file's name, relative to the folder, that is in the string: all of it, all but its suffix, the last
# part, or the folder that contains the file.
Part = Literal["name", "stem", "base", "base stem", "folder"]


@dataclass(frozen=True)
class Listing:
    """One folder (`models/loras`, `input`) as an input offers it. `suffixes` None accepts all."""

    directory: str
    part: Part = "name"
    before: str = ""
    after: str = ""
    suffixes: frozenset[str] | None = None

    @classmethod
    def from_json(cls, data: list[Any]) -> Listing:
        directory, part, before, after, suffixes = data
        return cls(directory, part, before, after, None if suffixes is None else frozenset(suffixes))

    def texts_of(self, name: str) -> list[str]:
        """The strings for a file in the input's list; none if the file is not offered."""
        stem, suffix = posixpath.splitext(name)
        if self.suffixes is not None and suffix.lower() not in self.suffixes:
            return []
        match self.part:
            case "name":
                inner = [name]
            case "stem":
                inner = [stem]
            case "base":
                inner = [posixpath.basename(name)]
            case "base stem":
                inner = [posixpath.basename(stem)]
            case "folder":
                parts = name.split("/")[:-1]
                inner = ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
        return [f"{self.before}{text}{self.after}" for text in inner]

    def paths_of(self, text: str) -> set[str]:
        """The paths at which the file for a string may be."""
        if not text.startswith(self.before) or not text.endswith(self.after) or self.part == "folder":
            return set()
        inner = text[len(self.before) : len(text) - len(self.after)]
        suffixes = (self.suffixes or ()) if self.part in ("stem", "base stem") else ("",)
        return {path for suffix in suffixes if (path := beneath(self.directory, inner + suffix)) is not None}

    def folder_of(self, text: str) -> str | None:
        """The folder for a string, if the input offers folders; else None."""
        if self.part != "folder" or not text.startswith(self.before) or not text.endswith(self.after):
            return None
        return beneath(self.directory, text[len(self.before) : len(text) - len(self.after)])


class Paths:
    """A set of file paths (`/models/loras/a.safetensors`), indexed by folder on demand."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._set = set(paths)
        self._paths = sorted(self._set)
        self._below: dict[str, list[str]] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def __contains__(self, path: object) -> bool:
        return path in self._set

    def below(self, directory: str) -> list[str]:
        """The names of the files below a folder, relative to it."""
        if directory not in self._below:
            start = f"/{directory}/"
            self._below[directory] = [path[len(start) :] for path in self._paths if path.startswith(start)]
        return self._below[directory]

    def offered(self, listings: Iterable[Listing]) -> set[str]:
        """The strings for these files in an input's list."""
        return {text for each in listings for name in self.below(each.directory) for text in each.texts_of(name)}


def places(listings: Collection[Listing], text: str) -> set[str]:
    """The paths at which the file for an input's string may be."""
    return {path for listing in listings for path in listing.paths_of(text)}


def beneath(directory: str, name: str) -> str | None:
    """The path of a name below a folder, normalized like in ComfyUI (`./a//b` is `a/b`); None if it leads out."""
    if not name or name.startswith("/") or "\0" in name:
        return None
    normal = name if "/" not in name else posixpath.normpath(name)
    return None if normal in (".", "..") or normal.startswith("../") else f"/{directory}/{normal}"
