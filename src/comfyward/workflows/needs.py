"""The models and files that a graph needs: for placement, and to attach files that the account has by name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec

from comfyward.workflows.catalog import INPUT_FOLDER, MODELS, Catalog
from comfyward.workflows.graph import Graph, Text
from comfyward.workflows.listing import Listing, beneath, places
from comfyward.workflows.separators import BACKSLASH

MODEL_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pt2", ".pth", ".bin", ".sft", ".pkl", ".gguf", ".onnx")
MAX_NAME_LENGTH = 512
JSON_STARTS = ("{", "[")

# Files mentioned inside a string: (pattern, model folder, optional suffixes). The first is ComfyUI's own
# (source: comfy/sd1_clip.py, load_embed); the second is what prompt nodes of many packs read.
_MENTIONS = (
    (re.compile(r"embedding:\s*(\S+)"), "embeddings", ("", ".safetensors", ".pt", ".bin")),
    (re.compile(r"<lora:([^:>\n]+)"), "loras", ("", ".safetensors", ".pt", ".ckpt", ".bin")),
)
# Characters that may follow a name without a space: a comma, a closing bracket, a weight.
_ENDS = re.compile(r"[,;:()\[\]{}<>|\"']")


def models_of(graph: Graph) -> list[str]:
    """The distinct model file names in a graph's inputs, sorted."""
    return sorted({text.value for text in _names(graph) if text.value.lower().endswith(MODEL_SUFFIXES)})


@dataclass(frozen=True)
class PlacesNamed:
    """The paths of the files and folders that a graph may name."""

    paths: set[str]
    folders: set[str]


def places_named(graph: Graph, catalog: Catalog | None) -> PlacesNamed:
    """The paths at which to look for the files that a graph may name.

    An input that offers files has known folders. Any other string (in an object or list, in JSON, in an input that
    only a pack's own page fills) may name an input file or folder, or a model in any folder.
    """
    directories = [Listing(INPUT_FOLDER), *(Listing(directory) for directory in sorted(_directories(catalog)))]
    paths, folders = set[str](), set[str]()
    for text, offered in _offered(graph, catalog):
        name = text.value.removesuffix(" [input]")  # ComfyUI's mark for the folder that is its default
        if offered:
            paths |= places(offered, name)
            folders |= _folders_named(text.value, offered)
            continue
        folder = beneath(INPUT_FOLDER, text.value)
        if folder is not None:
            folders.add(folder)
        if text.value.lower().endswith(MODEL_SUFFIXES):
            paths |= places(directories, name)
        elif (path := folder if name == text.value else beneath(INPUT_FOLDER, name)) is not None:
            paths.add(path)
    for text in graph.texts:
        if ":" in text.value:
            paths.update(_mentioned(text.value, catalog))
    return PlacesNamed(paths, folders)


def models_among(named: PlacesNamed, brought: Iterable[str], catalog: Catalog | None) -> frozenset[str]:
    """The paths of the models that a graph names: among the files that come with its run, and those of workers."""
    own = {path for path in brought if path.startswith(f"/{MODELS}/")}
    return frozenset(own | (named.paths & catalog.model_paths if catalog else set()))


def _folders_named(text: str, offered: list[Listing]) -> set[str]:
    return {folder for each in offered if (folder := each.folder_of(text)) is not None}


def _offered(graph: Graph, catalog: Catalog | None) -> Iterator[tuple[Text, list[Listing]]]:
    """The strings that may be file names, with the listings of their inputs; without choices from word lists."""
    for text in _names(graph):
        if catalog is None or text.is_nested:
            listings: list[Listing] = []
        elif catalog.is_choice(text.node.class_type, text.input_name):
            continue
        else:
            listings = catalog.listings_of(text.node.class_type, text.input_name)
        yield text, listings
        if BACKSLASH in text.value:
            yield msgspec.structs.replace(text, value=text.value.replace(BACKSLASH, "/")), listings


def _names(graph: Graph) -> Iterator[Text]:
    """The strings of a graph that may be file names, including those inside JSON strings."""
    for text in graph.texts:
        if len(text.value) <= MAX_NAME_LENGTH:
            yield text
        if text.value.lstrip()[:1] in JSON_STARTS:
            for inner in _inside_json(text.value):
                yield Text(text.node, text.input_name, inner, is_nested=True)


def _inside_json(text: str) -> Iterator[str]:
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
    """The names that a mention may stand for: all of it, or its beginning up to an end character, unescaped."""
    plain = mention.strip().replace("\\(", "(").replace("\\)", ")")
    ends = [match.start() for match in _ENDS.finditer(plain)]
    return {plain, *(plain[:end] for end in ends)} - {""}


def _directories(catalog: Catalog | None) -> set[str]:
    return catalog.directories if catalog else {f"{MODELS}/embeddings"}
