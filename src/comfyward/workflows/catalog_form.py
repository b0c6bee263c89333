"""The form of a catalog, checked before it is used: a worker sends it, and every account's submissions rely on it.

Bounds are far above what ComfyUI with hundreds of packs has. Of a node class only that is checked which we read; the
rest of its description goes to clients as it is.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from comfyward.errors import InvalidCatalog
from comfyward.python_json import TooManyValues, refuse_many
from comfyward.workflows.catalog import Catalog

MAX_CATALOG_BYTES = 32 << 20
MAX_CATALOG_VALUES = 2_000_000

Name = Annotated[str, Meta(max_length=1000)]
Names = Annotated[list[Name], Meta(max_length=200_000)]
Section = Annotated[dict[Name, Any], Meta(max_length=5_000)]
_Listing = tuple[Name, Literal["name", "stem", "base", "base stem", "folder"], Name, Name, list[Name] | None]
Listings = Annotated[list[_Listing], Meta(max_length=1_000)]


class _Inputs(msgspec.Struct):
    required: Section | None = None
    optional: Section | None = None


class _Node(msgspec.Struct):
    input: _Inputs | None = None
    output: list[Any] | str | None = None


class _OpenTypes(msgspec.Struct):
    inputs: Names = []
    outputs: bool = False


class _Failure(msgspec.Struct):
    name: Name
    error: str
    kind: Literal["pack", "core", "class"] = "pack"
    traceback: str = ""
    classes: Names = []


class _Mapped(msgspec.Struct):
    new_id: Name
    old_id: Name | None = None


class _MappedOutput(msgspec.Struct):
    new_idx: int
    old_idx: int


class _Replacement(msgspec.Struct):
    new_node_id: Name
    old_widget_ids: Names | None = None
    input_mapping: Annotated[list[_Mapped], Meta(max_length=1_000)] | None = None
    output_mapping: Annotated[list[_MappedOutput], Meta(max_length=1_000)] | None = None


class _Form(msgspec.Struct):
    nodes: Annotated[dict[Name, _Node], Meta(max_length=50_000)] = {}
    folders: dict[Name, dict[Name, Name]] = {}
    unchecked: dict[Name, Names] = {}
    models: dict[Name, Names] = {}
    kinds: dict[Name, Listings] = {}
    listings: dict[Name, dict[Name, Listings]] = {}
    follows: dict[Name, Names] = {}
    open_types: dict[Name, _OpenTypes] = {}
    checks_combos: bool = True
    failures: Annotated[list[_Failure], Meta(max_length=10_000)] = []
    model_info: dict[Name, dict[Name, dict[str, Any]]] = {}
    replacements: Annotated[dict[Name, list[_Replacement]], Meta(max_length=50_000)] = {}
    comfyui_version: Annotated[str, Meta(max_length=100)] = ""


def parse_catalog(body: bytes | str) -> Catalog:
    """The catalog in a JSON text. Raises InvalidCatalog."""
    if len(body) > MAX_CATALOG_BYTES:
        raise InvalidCatalog(f"The catalog is larger than {MAX_CATALOG_BYTES} bytes.")
    try:
        refuse_many(body, MAX_CATALOG_VALUES)
        msgspec.json.decode(body, type=_Form)
        return Catalog.from_json(msgspec.json.decode(body, type=dict[str, Any]))
    except (msgspec.DecodeError, UnicodeDecodeError, TooManyValues, RecursionError) as error:
        raise InvalidCatalog(f"The catalog has not the form of one: {error}.") from error
