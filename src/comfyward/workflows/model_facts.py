"""The facts about a model that the header of its file tells: architecture, trigger words, licence. Pure.

A header is JSON of a stranger: each value may be of any type, and as long as the header. What is kept has a bound.
(Sources: the SAI model specification, `modelspec.*`; kohya's sd-scripts, `ss_*` and `ssmd_*`.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from comfyward.python_json import NOT_JSON, read_answer, refuse_many
from comfyward.workflows.architectures import architecture_of

METADATA = "__metadata__"
MAX_TEXT = 200
MAX_WORDS = 20
MAX_WORD = 100
MAX_TAGS = 200_000
MAX_TAGS_LENGTH = 8 << 20
# A tag of nearly all pictures of a training set is what calls the style or the person; others describe single ones.
OFTEN = 0.9
COVERS = ("ssmd_cover_images", "modelspec.thumbnail")


@dataclass(frozen=True)
class ModelFacts:
    """Empty where the file tells nothing. `has_cover` is true if a picture lies in its metadata."""

    architecture: str = ""
    trigger_words: tuple[str, ...] = ()
    licence: str = ""
    title: str = ""
    author: str = ""
    has_cover: bool = False


def facts_of(header: Mapping[str, Any]) -> ModelFacts:
    """The facts in the header of a safetensors file."""
    said = header.get(METADATA)
    metadata: Mapping[str, Any] = said if isinstance(said, dict) else {}
    tensors = {name: each for name, each in header.items() if name != METADATA}
    return ModelFacts(
        architecture=architecture_of(tensors, metadata),
        trigger_words=_trigger_words(metadata),
        licence=_text(metadata, "modelspec.license", "ssmd_license", "license"),
        title=_text(metadata, "modelspec.title", "ssmd_display_name", "ss_output_name"),
        author=_text(metadata, "modelspec.author", "ssmd_author"),
        has_cover=any(isinstance(metadata.get(key), str) and len(metadata[key]) > len("[]") for key in COVERS),
    )


def words_in(text: str) -> tuple[str, ...]:
    """The trigger words of a text with commas, each once."""
    return tuple(dict.fromkeys(_bounded(text.replace("\n", ",").split(","))))


def _trigger_words(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """Those that the model's author wrote, else the tags that its trainer counted."""
    for key in ("modelspec.trigger_phrase", "ssmd_keywords"):
        text = metadata.get(key)
        if isinstance(text, str) and (words := words_in(text[: MAX_WORDS * MAX_WORD])):
            return words
    return tuple(dict.fromkeys(_bounded(_frequent(metadata.get("ss_tag_frequency")))))


def _frequent(text: Any) -> Iterator[str]:
    """The tags that nearly all pictures of a folder have, of kohya's {folder: {tag: count}}; most frequent first."""
    if not isinstance(text, str) or len(text) > MAX_TAGS_LENGTH:
        return
    try:
        refuse_many(text, MAX_TAGS)
        folders = read_answer(text)
    except NOT_JSON:
        return
    for tags in folders.values() if isinstance(folders, dict) else ():
        counts = {tag: count for tag, count in _items(tags) if type(count) is int and count > 0}
        most = max(counts.values(), default=0)
        yield from sorted((tag for tag in counts if counts[tag] >= OFTEN * most), key=lambda tag: (-counts[tag], tag))


def _items(value: Any) -> Iterable[tuple[str, Any]]:
    return value.items() if isinstance(value, dict) else ()


def _bounded(words: Iterable[str]) -> Iterator[str]:
    kept = 0
    for word in words:
        plain = " ".join(word[:MAX_WORD].split())
        if plain and kept < MAX_WORDS:
            kept += 1
            yield plain


def _text(metadata: Mapping[str, Any], *keys: str) -> str:
    """The first of these that is a text, as one line."""
    texts = (metadata[key] for key in keys if isinstance(metadata.get(key), str))
    return next((line for text in texts if (line := " ".join(text[:MAX_TEXT].split()))), "")
