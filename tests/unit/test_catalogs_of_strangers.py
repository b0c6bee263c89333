"""Whatever a worker sends as its catalog is refused, or read by everything that reads catalogs."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyward.api.native.help import help_page
from comfyward.api.native.nodes import extended
from comfyward.dispatch.catalogs import CatalogsByPool, digests_in_use, uncounted_pools
from comfyward.errors import InvalidCatalog, InvalidGraph
from comfyward.store.catalogs import KEPT_PER_POOL, CatalogRow
from comfyward.store.workers import Announced
from comfyward.workflows.catalog import Catalog
from comfyward.workflows.catalog_form import MAX_CATALOG_BYTES, MAX_CATALOG_VALUES, parse_catalog
from comfyward.workflows.graph import describe, parse_graph
from comfyward.workflows.inputs import inputs_of
from comfyward.workflows.listing import Paths
from comfyward.workflows.needs import places_named
from comfyward.workflows.separators import with_slashes
from comfyward.workflows.validation import check

GRAPH = {
    "1": {"class_type": "A", "inputs": {"x": "a.png", "y": 5, "z": ["2", 0], "w": {"__value__": []}}},
    "2": {"class_type": "B", "inputs": {"x": "sub\\a.safetensors", "y": True, "z": ["1", 3]}},
}
OWN = Paths(["/input/a.png", "/models/loras/a.safetensors"])

any_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyzabmin"), inner, max_size=3),
    max_leaves=6,
)
types = st.sampled_from(["INT", "FLOAT", "STRING", "COMBO", "IMAGE", "*", "COMFY_AUTOGROW_V3", "COLOR"])
specs = any_json | st.lists(types | any_json, min_size=1, max_size=3)
sections = any_json | st.dictionaries(st.sampled_from("xyzw"), specs, max_size=4)
nodes = any_json | st.fixed_dictionaries(
    {},
    optional={
        "input": any_json | st.fixed_dictionaries({}, optional={"required": sections, "optional": sections}),
        "output": any_json | st.lists(types | any_json, max_size=3),
        "output_node": any_json,
        "display_name": any_json,
        "python_module": any_json,
        "output_name": any_json,
        "description": any_json,
    },
)
classes = st.sampled_from("AB")
parts = st.sampled_from(["name", "stem", "base", "base stem", "folder", "other"])
folder_names = st.sampled_from(["input", "models/loras", "models", "../x"])
listings = any_json | st.lists(st.tuples(folder_names, parts, st.text(max_size=2), st.text(max_size=2), any_json))
mapped = st.fixed_dictionaries(
    {"new_id": st.sampled_from("xyz")}, optional={"old_id": any_json | st.sampled_from("xyz"), "set_value": any_json}
)
replacements = st.fixed_dictionaries(
    {"new_node_id": classes},
    optional={
        "old_widget_ids": any_json | st.lists(st.sampled_from("xyz"), max_size=3),
        "input_mapping": any_json | st.lists(mapped, max_size=3),
        "output_mapping": any_json | st.lists(st.fixed_dictionaries({"new_idx": any_json, "old_idx": any_json})),
    },
)
catalogs = st.fixed_dictionaries(
    {"nodes": any_json | st.dictionaries(classes, nodes)},
    optional={
        "folders": any_json | st.dictionaries(classes, st.dictionaries(st.sampled_from("xyz"), folder_names)),
        "unchecked": any_json | st.dictionaries(classes, any_json | st.lists(st.sampled_from("*xyz"))),
        "models": any_json | st.dictionaries(folder_names, any_json | st.lists(st.text(max_size=3))),
        "kinds": any_json | st.dictionaries(folder_names, listings),
        "listings": any_json | st.dictionaries(classes, st.dictionaries(st.sampled_from("xyz"), listings)),
        "follows": any_json | st.dictionaries(classes, any_json | st.lists(folder_names)),
        "open_types": any_json | st.dictionaries(classes, any_json),
        "failures": any_json | st.lists(st.fixed_dictionaries({"name": any_json, "error": any_json})),
        "model_info": any_json,
        "replacements": any_json | st.dictionaries(classes, any_json | st.lists(replacements, max_size=2)),
        "checks_combos": any_json,
        "comfyui_version": any_json,
    },
)


@settings(max_examples=600, derandomize=True, deadline=None, database=None)
@given(catalogs)
def test_it_is_refused_or_read_by_all(sent: dict[str, Any]) -> None:
    try:
        catalog = parse_catalog(msgspec.json.encode(sent))
    except InvalidCatalog:
        return
    _read_by_all(catalog)


def _read_by_all(catalog: Catalog) -> None:
    graph = catalog.with_replacements(parse_graph(GRAPH))
    for class_type in "AB":
        catalog.laid_out.of(class_type)
    with contextlib.suppress(InvalidGraph):
        check(graph, catalog, OWN).raise_if_any()
    places_named(graph, catalog)
    with_slashes(graph, catalog, OWN)
    inputs_of(graph, catalog, OWN)
    describe(graph, None, catalog.packs)
    catalog.models_with(OWN)
    for name, info in catalog.nodes.items():
        help_page(name, info)
        msgspec.json.encode(extended(catalog, name, OWN))
    for failure in catalog.failures:
        str(failure)


@pytest.mark.parametrize("body", [b"", b"\xff", b"[" * 200_000, b" " * (MAX_CATALOG_BYTES + 1)])
def test_what_is_no_catalog_at_all(body: bytes) -> None:
    with pytest.raises(InvalidCatalog):
        parse_catalog(body)


def row(pool: str, digest: str, at: int, *, shared: bool = False) -> CatalogRow:
    return CatalogRow("default", pool, digest, shared, at)


def test_the_best_catalog_of_each_pool() -> None:
    rows = [
        row("L4", "stranger's", 9),
        row("T4", "newest", 8),
        row("L4", "ours", 7, shared=True),
        row("T4", "older", 6),
        row("H100", "oldest of ours", 5, shared=True),
        row("", "of before", 4, shared=True),
    ]

    by_pool, shared = digests_in_use(rows)

    assert by_pool == {"L4": ["ours"], "T4": ["newest"], "H100": ["oldest of ours"]}
    assert shared == "ours"


def test_those_of_present_workers_hold_together() -> None:
    rows = [
        row("L4", "stranger's", 9),
        row("T4", "empty", 8),
        row("L4", "ours", 7, shared=True),
        row("L4", "our other", 6, shared=True),
        row("T4", "of most", 5),
        row("T4", "of nobody now", 4),
    ]
    announced = [
        Announced("T4", "of most", 2, 1),
        Announced("L4", "stranger's", 1, 1),
        Announced("L4", "our other", 1, 2),
        Announced("L4", "not sent yet", 1, 3),
        Announced("T4", "empty", 1, 4),
        Announced("H100", "of most", 1, 5),
    ]

    by_pool, _ = digests_in_use(rows, announced)

    assert by_pool == {"L4": ["our other"], "T4": ["of most", "empty"]}


def test_a_pool_with_more_catalogs_than_are_kept_takes_every_graph() -> None:
    many = [Announced("L4", f"d{number}", 1, number) for number in range(KEPT_PER_POOL + 1)]
    ours, theirs = Catalog("ours"), Catalog("theirs")

    assert uncounted_pools(many) == {"L4"}
    assert uncounted_pools(many[1:]) == set()
    assert CatalogsByPool({"L4": ours}, None, {"L4": [theirs, None]}).each_of("L4") == (ours, theirs, None)
    assert CatalogsByPool({"L4": ours}, theirs).each_of("T4") == (theirs,)


def test_what_is_shown_where_no_pool_was_chosen() -> None:
    ours, theirs = Catalog("ours"), Catalog("theirs")

    assert CatalogsByPool({"T4": theirs}).shown("L4") is theirs
    assert CatalogsByPool({"T4": theirs}).of("L4") is None
    assert CatalogsByPool({"T4": theirs}, ours).shown("L4") is ours
    assert CatalogsByPool({"T4": theirs}, ours).shown("T4") is theirs
    assert CatalogsByPool({}).shown(None) is None


def test_the_values_of_a_catalog_are_counted_before_they_are_read() -> None:
    body = b'{"nodes":{"A":' + b"[" + b"[]," * MAX_CATALOG_VALUES + b"[]]}}"

    with pytest.raises(InvalidCatalog, match="it has more than 2000000 values"):
        parse_catalog(body)
