"""The query of an address becomes a model; what the model refuses is an error of the API."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, Field
from starlette.requests import Request

from comfyward.api.query import read_query
from comfyward.errors import InvalidRequest


class Query(BaseModel):
    limit: int = Field(10, ge=1)
    name: str | None = None


def read(query: str) -> Query:
    return read_query(Request({"type": "http", "headers": [], "query_string": query.encode()}), Query)


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", Query()),
        ("limit=&name=", Query()),
        ("limit=3&other=x", Query(limit=3)),
        ("limit=3&limit=4&limit=", Query(limit=4)),
        ("name=%C3%A9+a%26b", Query(name="é a&b")),
    ],
)
def test_empty_ones_are_absent_and_the_last_counts(query: str, wanted: Query) -> None:
    assert read(query) == wanted


def test_an_error_names_the_parameter() -> None:
    with pytest.raises(InvalidRequest, match=r"^'query\.limit': Input should be a valid integer") as refused:
        read("limit=x")
    assert [(field["loc"], field["type"]) for field in refused.value.details["fields"]] == [
        (["query", "limit"], "int_parsing")
    ]
