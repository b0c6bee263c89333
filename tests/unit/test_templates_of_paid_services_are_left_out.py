"""The list of ComfyUI's templates is served without those that lead to a paid service, in every language."""

from __future__ import annotations

import msgspec
import pytest

from comfyward.api.native.free_templates import free, is_index

OPEN = {"name": "image_flux", "openSource": True, "tags": ["Text to Image"]}
UNTOLD = {"name": "default", "tags": None}
PAID = [
    {"name": "api_kling", "tags": []},
    {"name": "product_ad", "openSource": False, "tags": ["Video"]},
    {"name": "studio", "openSource": True, "tags": ["Video", "API"]},
]


def test_only_what_runs_without_a_service_is_left() -> None:
    index = [{"title": "Image", "templates": [OPEN, *PAID, UNTOLD]}, {"title": "Partners", "templates": PAID}]

    left = msgspec.json.decode(free(msgspec.json.encode(index)))

    assert left == [{"title": "Image", "templates": [OPEN, UNTOLD]}]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(("index.json", True), ("index.zh-TW.json", True), ("index.mcp.json", True)),
        *(
            ("index.schema.json", False),
            ("index_logo.json", False),
            ("image_flux.json", False),
            ("a/index.json", False),
        ),
    ],
)
def test_lists_are_told_by_their_names(name: str, expected: bool) -> None:
    assert is_index(name) is expected


def test_what_is_no_list_of_categories_stays_as_it_is() -> None:
    assert free(b'{"a": 1}') == b'{"a": 1}'
