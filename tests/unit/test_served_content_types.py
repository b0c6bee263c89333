"""A file's content type is said by whoever sent it: it is a media type in the answer, or none is told."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from starlette.requests import Request

from comfyward.api.contents import Content, Contents
from comfyward.files.objects import Objects
from comfyward.files.pictures import Decoders
from comfyward.store.db import Database


def served_as(content_type: str) -> str:
    contents = Contents(cast(Database, None), cast(Objects, None), Decoders(), direct=False)
    scope: dict[str, Any] = {"type": "http", "method": "HEAD", "path": "/", "headers": [], "query_string": b""}
    answered = asyncio.run(contents.serve(Request(scope), Content("digest", 9, content_type, "a.png")))
    return answered.headers["content-type"]


@pytest.mark.parametrize("content_type", ["image/png", "image/svg+xml", 'audio/ogg; codecs="opus"'])
def test_a_media_type_is_sent(content_type: str) -> None:
    assert served_as(content_type) == content_type


@pytest.mark.parametrize("content_type", ["a/b\r\nSet-Cookie: x=y", "a/b\n", "text/ﬁle", "image", "", "a/b\0"])
def test_an_invalid_media_type_is_not_sent(content_type: str) -> None:
    assert served_as(content_type) == "application/octet-stream"
