"""A part of a file that a client asks for, and the version that it has already (RFC 9110)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.contents import Content, Contents
from comfyward.errors import OutsideFile
from comfyward.files.objects import Objects
from comfyward.files.pictures import Decoders
from comfyward.store.db import Database

DATA = b"0123456789"
MANY = "9" * 5000


class Blobs:
    async def read(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        async def pieces() -> AsyncIterator[bytes]:
            yield DATA[start:end]

        return pieces()


def asked(**headers: str) -> Response:
    contents = Contents(cast(Database, None), cast(Objects, Blobs()), Decoders(), direct=False)
    sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/", "headers": sent, "query_string": b""}
    return asyncio.run(contents.serve(Request(scope), Content("new", len(DATA), "text/plain", "a.txt")))


def body(answered: Any) -> bytes:
    async def read() -> bytes:
        return b"".join([piece async for piece in answered.body_iterator])

    return asyncio.run(read())


@pytest.mark.parametrize(
    ("part", "start", "end"),
    [
        ("bytes=2-4", 2, 5),
        ("bytes=0-", 0, 10),
        ("bytes=-3", 7, 10),
        ("Bytes=0-0", 0, 1),
        (f"bytes=0-{MANY}", 0, 10),
        (f"bytes=-{MANY}", 0, 10),
        ("bytes=0000000000000000000-1", 0, 2),
    ],
)
def test_a_range_is_sent_as_partial_content(part: str, start: int, end: int) -> None:
    answered = asked(range=part)

    assert answered.status_code == 206
    assert answered.headers["content-range"] == f"bytes {start}-{end - 1}/10"
    assert answered.headers["content-length"] == str(end - start)
    assert body(answered) == DATA[start:end]


@pytest.mark.parametrize("part", ["bytes=10-", "bytes=-0", "bytes=5-2", f"bytes={MANY}-"])
def test_an_unsatisfiable_range_is_refused(part: str) -> None:
    with pytest.raises(OutsideFile):
        asked(range=part)


@pytest.mark.parametrize("part", ["bytes=-", "bytes=a-b", "bytes=0-1,3-4", "items=0-1", ""])
def test_other_ranges_get_the_whole_file(part: str) -> None:
    answered = asked(range=part)

    assert (answered.status_code, body(answered)) == (200, DATA)


@pytest.mark.parametrize(("version", "status", "sent"), [('"new"', 206, b"01"), ('"old"', 200, DATA)])
def test_a_download_goes_on_only_with_the_same_version(version: str, status: int, sent: bytes) -> None:
    answered = asked(range="bytes=0-1", if_range=version)

    assert (answered.status_code, body(answered)) == (status, sent)


@pytest.mark.parametrize(
    ("known", "status"),
    [('"new"', 304), ('W/"new"', 304), ('"old", "new"', 304), ("*", 304), ('"old"', 200), ("new", 200)],
)
def test_a_version_that_the_client_has_is_not_sent_again(known: str, status: int) -> None:
    assert asked(if_none_match=known).status_code == status
