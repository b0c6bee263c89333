"""Addresses of models in graphs in the editor's format: a suggestion, since whoever made the graph wrote them.

The editor keeps what a template's author noted on the loader (some files have the list beside their nodes):

    "properties": {"models": [{"name", "url", "directory", "hash"?, "hash_type"?}]}

Others write addresses into the text of a note.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from comfyward.ids import is_digest
from comfyward.workflows.editor_nodes import written_nodes
from comfyward.workflows.needs import MODEL_SUFFIXES

NOTE_CLASSES = ("Note", "MarkdownNote")
MAX_URL, MAX_NAME, MAX_TEXT = 2000, 255, 100_000
MAX_NOTES = 2000  # of one graph
_ADDRESS = re.compile(r"https?://[^\s<>\"'`\]\[|\\^{}]{4,2000}", re.IGNORECASE)
_LINK = re.compile(r"\[([^\[\]\n]{1,300})\]\((https?://[^\s()<>\"]{4,2000})", re.IGNORECASE)


@dataclass(frozen=True)
class ModelNote:
    """A model's file name, its URL, its folder below models/ ("" if untold), and its SHA-256 if that is told."""

    name: str
    url: str
    directory: str = ""
    sha256: str | None = None


NotesByName = Mapping[str, Sequence[ModelNote]]


def by_name(notes: Iterable[ModelNote]) -> NotesByName:
    """The notes by the name of the model, in their order."""
    found: dict[str, list[ModelNote]] = {}
    for note in notes:
        found.setdefault(note.name, []).append(note)
    return found


def notes_on(properties: Mapping[str, Any]) -> list[ModelNote]:
    """The models that the properties of a node name."""
    return list(_listed(properties.get("models")))


def notes_in(editor_graph: Any) -> list[ModelNote]:
    """All models that a graph names: on its nodes, beside them, and, as the last, in the texts of notes."""
    found = dict.fromkeys(_noted(editor_graph))
    return list(found)[:MAX_NOTES]


def _noted(editor_graph: Any) -> Iterator[ModelNote]:
    nodes = list(written_nodes(editor_graph))
    for node in nodes:
        if isinstance(properties := node.get("properties"), dict):
            yield from notes_on(properties)
    if isinstance(editor_graph, dict):
        yield from _listed(editor_graph.get("models"))
    for node in nodes:
        if node["type"] in NOTE_CLASSES and isinstance(values := node.get("widgets_values"), list):
            for text in values[:1]:
                yield from _in_text(text)


def _listed(models: object) -> Iterator[ModelNote]:
    for entry in models[:MAX_NOTES] if isinstance(models, list) else ():
        match entry:
            case {"name": str(name), "url": str(url), **rest} if _is_name(name) and _is_url(url):
                directory = rest.get("directory")
                yield ModelNote(name, url, directory if isinstance(directory, str) else "", _sha256_in(rest))


def _in_text(text: object) -> Iterator[ModelNote]:
    """The addresses in a note: those of a file that has the name of a model, or that are linked by such a name."""
    if not isinstance(text, str):
        return
    text = text[:MAX_TEXT]
    for words, url in _LINK.findall(text):
        if _is_model(name := words.strip(" *`_")) and _is_name(name):
            yield ModelNote(name, url)
    for url in _ADDRESS.findall(text):
        url = url.rstrip(").,;:*")
        if _is_model(name := _last_part(url)) and _is_name(name):
            yield ModelNote(name, url)


def _last_part(url: str) -> str:
    try:
        return unquote(urlsplit(url).path.rpartition("/")[2])
    except ValueError:
        return ""


def _is_model(name: str) -> bool:
    return name.lower().endswith(MODEL_SUFFIXES)


def _is_name(name: str) -> bool:
    return 0 < len(name) <= MAX_NAME and name.isprintable()


def _is_url(url: str) -> bool:
    return len(url) <= MAX_URL and url.lower().startswith(("https://", "http://"))


def _sha256_in(entry: Mapping[Any, Any]) -> str | None:
    kind, text = str(entry.get("hash_type") or "sha256"), str(entry.get("hash") or "").lower()
    return text if kind.lower().replace("-", "") == "sha256" and is_digest(text) else None


class KnownModels:
    """Models by name and folder, from graphs of people who are trusted more than the maker of any one file."""

    def __init__(self, notes: Iterable[ModelNote] = ()) -> None:
        counted: dict[tuple[str, str], Counter[ModelNote]] = {}
        for note in notes:
            counted.setdefault((note.directory, note.name), Counter())[note] += 1
        self._known = {place: notes.most_common(1)[0][0] for place, notes in counted.items()}
        directories: dict[str, set[str]] = {}
        for directory, name in self._known:
            directories.setdefault(name, set()).add(directory)
        self._directories = {name: found.pop() for name, found in directories.items() if len(found) == 1}

    def __len__(self) -> int:
        return len(self._known)

    def of(self, directory: str, name: str) -> ModelNote | None:
        """The model of this name in a folder below models/: the address that most of the graphs have."""
        return self._known.get((directory, name))

    def directory_of(self, name: str) -> str | None:
        """The one folder in which a model of this name is known; None if there is none, or more than one."""
        return self._directories.get(name)
