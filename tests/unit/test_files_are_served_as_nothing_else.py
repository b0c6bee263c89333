"""A file's content type is said by whoever sent it: it is a media type in the answer, or none is told."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.requests import Request

from comfyward.api.context import Context
from comfyward.api.views import serve


def served_as(content_type: str) -> str:
    context = cast(Context, SimpleNamespace(settings=SimpleNamespace(objects_direct="none")))
    scope: dict[str, Any] = {"type": "http", "method": "HEAD", "path": "/", "headers": [], "query_string": b""}
    answered = asyncio.run(serve(context, Request(scope), "digest", 9, content_type, "a.png"))
    return answered.headers["content-type"]


@pytest.mark.parametrize("content_type", ["image/png", "image/svg+xml", 'audio/ogg; codecs="opus"'])
def test_a_media_type_is_told(content_type: str) -> None:
    assert served_as(content_type) == content_type


@pytest.mark.parametrize("content_type", ["a/b\r\nSet-Cookie: x=y", "a/b\n", "text/ﬁle", "image", "", "a/b\0"])
def test_anything_else_is_not(content_type: str) -> None:
    assert served_as(content_type) == "application/octet-stream"
