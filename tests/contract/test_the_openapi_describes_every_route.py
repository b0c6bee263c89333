"""The OpenAPI is a valid document, and describes every route of the APIs and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.applications import Starlette

from comfyward.api.reference import Reference
from tests.routes import pages, served, whole

# The wires of workers and fleets, which no other programs use.
UNDESCRIBED = ("/worker/", "/fleet/")
# ComfyUI's API is there several times, and described once.
SAME = {"/workflows/{workflow_id}/comfy/": "/comfy/", "/comfy/api/": "/comfy/"}


@pytest.fixture(scope="module")
def app() -> Starlette:
    return whole()


@pytest.fixture(scope="module")
def description(app: Starlette) -> dict[str, Any]:
    reference = next(route.endpoint.__self__ for route in app.routes if getattr(route, "path", "") == "/openapi.json")
    assert isinstance(reference, Reference)
    return reference.description


def described(description: dict[str, Any]) -> set[tuple[str, str]]:
    return {(method, path) for path, methods in description["paths"].items() for method in methods}


def test_the_document_is_valid(description: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(description).validate()


def test_every_route_is_described_and_nothing_else(app: Starlette, description: dict[str, Any]) -> None:
    routes = {(method, path) for method, path in served(app.routes) if not path.startswith(UNDESCRIBED)} - pages()
    found = described(description)

    assert found <= routes
    assert {(method, path) for method, path in routes if not {(method, each) for each in same(path)} & found} == set()


def same(path: str) -> Iterator[str]:
    """The paths at which the same route is described."""
    yield path
    for prefix, described_as in SAME.items():
        if path.startswith(prefix):
            yield from same(path.replace(prefix, described_as, 1))


def test_every_operation_has_a_name_of_its_own_a_summary_and_an_error(description: dict[str, Any]) -> None:
    operations = [operation for methods in description["paths"].values() for operation in methods.values()]

    assert len({operation["operationId"] for operation in operations}) == len(operations)
    for operation in operations:
        assert operation["summary"]
        assert operation["responses"]["default"]["content"]["application/json"]["schema"]


def test_schemas_have_names_of_their_own(description: dict[str, Any]) -> None:
    names = description["components"]["schemas"]

    assert [name for name in names if "__" in name] == []
    assert {"V1Error", "V2Job", "NativeJob"} <= set(names)
