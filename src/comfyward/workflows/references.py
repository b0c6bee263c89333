"""References in a graph to assets by id, and to outputs of earlier runs.

An asset takes the place of a file's name (source: Comfy API v2, `AssetReference`):

    {"__type": "core/ASSET", "info": {"id": "<uuid>", "hash": "blake3:…", "file_path": "photo.png"}}

An output is a string in ComfyUI's form: `<run id>/picture_00001_.png [output]`, or `[temp]` for a temporary file;
without a run id it means the newest of that name. Both are replaced by the name of the file in the new run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from comfyward.errors import MissingAsset
from comfyward.workflows.catalog import INPUT_FOLDER, Catalog
from comfyward.workflows.graph import Graph
from comfyward.workflows.listing import Listing

ASSET = "core/ASSET"
MAX_OUTPUT_LENGTH = 1024
_OUTPUT = re.compile(r"(.+) \[(output|temp)\]", re.DOTALL)


@dataclass(frozen=True)
class AssetReference:
    """An asset by its id."""

    asset_id: str


@dataclass(frozen=True)
class ResultReference:
    """A file of an earlier run. `kind` is "output" or "temp"; the first folder of `path` may be the run's id."""

    path: str
    kind: str


Reference = AssetReference | ResultReference


@dataclass(frozen=True)
class Named:
    """The target of a reference: a blob, and its owner's path for it (relative, `models/…` or a name)."""

    digest: str
    size: int
    file_path: str


@dataclass(frozen=True)
class Resolved:
    """A graph without references, and the blobs that its names stand for, by path in the run."""

    graph: Graph
    files: dict[str, Named]


def references(graph: Graph) -> set[Reference]:
    """The references in a graph. Raises MissingAsset for a malformed one."""
    found: set[Reference] = {result for text in graph.texts if (result := _result(text.value)) is not None}
    marked = {text.node.id: text.node for text in graph.texts if text.is_nested and text.value == ASSET}
    return found.union(*(_assets_in(value) for node in marked.values() for value in node.inputs.values()))


def resolve(graph: Graph, named: Mapping[Reference, Named], catalog: Catalog | None) -> Resolved:
    """Replaces the references that are in `named` by names; other references to outputs stay as they are.

    Raises MissingAsset for an asset that is not in `named`.
    """
    places, changed = _Places(), {}
    for node in graph.nodes.values():
        inputs = {}
        for name, value in node.inputs.items():
            listings = catalog.listings_of(node.class_type, name) if catalog else []
            inputs[name] = _replaced(value, partial(places.text_for, listings=listings), named)
        if inputs != node.inputs:
            changed[node.id] = inputs
    return Resolved(graph.with_inputs(changed), places.files)


class _Places:
    """Gives each blob a path in the run: its own name, or in a folder of its own if the name is taken."""

    def __init__(self) -> None:
        self.files: dict[str, Named] = {}

    def text_for(self, named: Named, *, listings: Sequence[Listing]) -> str:
        listing, name = _place(named.file_path, listings)
        for inside in (name, f"{named.digest[:12]}/{name}"):
            taken = self.files.setdefault(f"/{listing.directory}/{inside}", named)
            if taken.digest == named.digest:
                return next(iter(listing.texts_of(inside)), inside)
        raise AssertionError("two blobs share twelve characters of their digests and a name")


def _place(file_path: str, listings: Sequence[Listing]) -> tuple[Listing, str]:
    """(listing, name in it) for a file and the listings of its input: the file's own folder if the input reads it."""
    if not listings or listings[0].directory == INPUT_FOLDER:
        return Listing(INPUT_FOLDER), file_path
    for listing in listings:
        if file_path.startswith(f"{listing.directory}/"):
            return listing, file_path.removeprefix(f"{listing.directory}/")
    return listings[0], file_path.rpartition("/")[2]


def _assets_in(value: Any) -> Iterator[AssetReference]:
    match value:
        case {"__type": kind} if kind == ASSET:
            yield _asset(value)
        case dict():
            for inner in value.values():
                yield from _assets_in(inner)
        case list():
            for inner in value:
                yield from _assets_in(inner)


def _replaced(value: Any, text_for: Callable[[Named], str], named: Mapping[Reference, Named]) -> Any:
    match value:
        case str():
            result = _result(value)
            return text_for(named[result]) if result is not None and result in named else value
        case {"__type": kind} if kind == ASSET:
            asset = _asset(value)
            if asset not in named:
                raise MissingAsset(f"There is no asset '{asset.asset_id}'.", asset_id=asset.asset_id)
            return text_for(named[asset])
        case dict():
            return {key: _replaced(inner, text_for, named) for key, inner in value.items()}
        case list():
            return [_replaced(inner, text_for, named) for inner in value]
        case _:
            return value


def _asset(value: dict[str, Any]) -> AssetReference:
    info = value.get("info")
    asset_id = info.get("id") if isinstance(info, dict) else None
    if not isinstance(asset_id, str) or not asset_id:
        raise MissingAsset(
            "An asset in the graph has no id.", hint='Write {"__type": "core/ASSET", "info": {"id": …}}.'
        )
    return AssetReference(asset_id)


def _result(text: str) -> ResultReference | None:
    match = _OUTPUT.fullmatch(text) if text.endswith("]") and len(text) <= MAX_OUTPUT_LENGTH else None
    return ResultReference(*match.groups()) if match else None
