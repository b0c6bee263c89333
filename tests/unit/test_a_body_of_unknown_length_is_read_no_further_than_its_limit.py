"""A body that comes in pieces, and announces no length, is refused at the first piece that is over its limit."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.requests import Request

from comfyward.api.body import read_body
from comfyward.errors import TooLarge

LIMIT = 100


def a_request(*pieces: bytes) -> tuple[Request, list[bytes]]:
    """(a request without Content-Length, the pieces that were not read yet)."""
    left = list(pieces)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    headers = [(b"transfer-encoding", b"chunked")]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive), left


async def test_a_body_as_large_as_its_limit_is_read() -> None:
    request, _ = a_request(b"a" * 60, b"b" * 40)

    assert await read_body(request, LIMIT) == b"a" * 60 + b"b" * 40


async def test_no_piece_is_read_after_the_one_that_is_too_much() -> None:
    request, left = a_request(b"a" * 60, b"b" * 41, b"c" * 10, b"d" * 10)

    with pytest.raises(TooLarge):
        await read_body(request, LIMIT)

    assert left == [b"c" * 10, b"d" * 10]
