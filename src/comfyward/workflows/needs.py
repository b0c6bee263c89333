"""The models and files that a graph needs: for placement, and to attach what an account has under a plain name."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from comfyward.workflows.catalog import INPUT_FOLDER, MODELS, Catalog
from comfyward.workflows.graph import Graph, Text
from comfyward.workflows.listing import Listing, places
from comfyward.workflows.separators import BACKSLASH

MODEL_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pt2", ".pth", ".bin", ".sft", ".pkl", ".gguf", ".onnx")
MAX_NAME_LENGTH = 512

# Files that a text mentions: (how, the model folder, the suffixes that may be left out). The first is ComfyUI's own
# (source: comfy/sd1_clip.py, load_embed); the second is what prompt nodes of many packs read.
_MENTIONS = (
    (re.compile(r"embedding:\s*(\S+)"), "embeddings", ("", ".safetensors", ".pt", ".bin")),
    (re.compile(r"<lora:([^:>\n]+)"), "loras", ("", ".safetensors", ".pt", ".ckpt", ".bin")),
)
# What may follow a name without a space: a comma, the end of a bracket, a weight.
_ENDS = re.compile(r"[,;:()\[\]{}<>|\"']")


def models_of(graph: Graph) -> list[str]:
    """The model file names that a graph's inputs hold, sorted, once each."""
    return sorted({text.value for text in _names(graph) if text.value.lower().endswith(MODEL_SUFFIXES)})


def model_urls(editor_graph: Any) -> dict[str, str]:
    """Where models are, by file name, as whoever made a graph in the editor's format noted it there."""
    urls: dict[str, str] = {}
    waiting = [editor_graph]
    while waiting:
        match waiting.pop():
            case {"name": str(name), "url": str(url)} if url.startswith(("https://", "http://")):
                urls.setdefault(name, url)
            case dict() as inner:
                waiting.extend(inner.values())
            case list() as inner:
                waiting.extend(inner)
    return urls


@dataclass(frozen=True)
class PlacesNamed:
    """Where files and folders would lie for which a graph's texts stand."""

    paths: set[str]
    folders: set[str]


def places_named(graph: Graph, catalog: Catalog | None) -> PlacesNamed:
    """Where to look for what a graph's texts may name.

    An input that offers files says in which folders. Any other text (in an object or a list, in JSON, in an input that
    only its pack's own page fills) may name a file or a folder of the caller, or a model in any folder.
    """
    directories = [Listing(INPUT_FOLDER), *(Listing(directory) for directory in sorted(_directories(catalog)))]
    anywhere = [Listing(INPUT_FOLDER, "folder")]
    paths, folders = set[str](), set[str]()
    for text, offered in _offered(graph, catalog):
        listings = offered or (directories if text.value.lower().endswith(MODEL_SUFFIXES) else directories[:1])
        paths |= places(listings, text.value.removesuffix(" [input]"))  # ComfyUI's own word for where it looks anyway
        folders.update(folder for each in offered or anywhere if (folder := each.folder_of(text.value)) is not None)
    for text in graph.texts:
        paths |= set(_mentioned(text.value, catalog))
    return PlacesNamed(paths, folders)


def _offered(graph: Graph, catalog: Catalog | None) -> Iterator[tuple[Text, list[Listing]]]:
    """The texts that may be names, each with what its input offers; words that are chosen from a list are none."""
    for text in _names(graph):
        if catalog is None or text.is_nested:
            listings: list[Listing] = []
        elif catalog.is_choice(text.node.class_type, text.input_name):
            continue
        else:
            listings = catalog.listings_of(text.node.class_type, text.input_name)
        yield text, listings
        if BACKSLASH in text.value:
            yield dataclasses.replace(text, value=text.value.replace(BACKSLASH, "/")), listings


def _names(graph: Graph) -> Iterator[Text]:
    """The texts of a graph that may be names; those inside JSON texts too."""
    for text in graph.texts:
        if len(text.value) <= MAX_NAME_LENGTH:
            yield text
        for inner in _inside_json(text.value):
            yield Text(text.node, text.input_name, inner, is_nested=True)


def _inside_json(text: str) -> Iterator[str]:
    if not text.lstrip().startswith(("{", "[")):
        return
    try:
        waiting = [msgspec.json.decode(text)]
    except (msgspec.DecodeError, RecursionError):
        return
    while waiting:
        value = waiting.pop()
        if isinstance(value, str) and len(value) <= MAX_NAME_LENGTH and "\n" not in value:
            yield value
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _mentioned(text: str, catalog: Catalog | None) -> Iterator[str]:
    for pattern, kind, suffixes in _MENTIONS:
        if found := pattern.findall(text):
            folders = (catalog or Catalog()).listings_of_kind(kind)
            names = {f"{name}{suffix}" for each in found for name in _as_written(each) for suffix in suffixes}
            yield from (
                path for folder in folders for name in names for path in Listing(folder.directory).paths_of(name)
            )


def _as_written(mention: str) -> Iterable[str]:
    """What a mention may name: all of it, or its beginning up to what may follow a name; brackets may be escaped."""
    plain = mention.strip().replace("\\(", "(").replace("\\)", ")")
    ends = [match.start() for match in _ENDS.finditer(plain)]
    return {plain, *(plain[:end] for end in ends)} - {""}


def _directories(catalog: Catalog | None) -> set[str]:
    return catalog.directories if catalog else {f"{MODELS}/embeddings"}
