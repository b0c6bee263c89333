"""Bodies of requests to ComfyUI's assets are JSON as Python's own writer makes it."""

import pytest
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.types import Message

from comfyward.api.native.asset_errors import AssetError
from comfyward.api.native.asset_requests import new_asset_of, read_object


def request(body: bytes) -> Request:
    async def receive() -> Message:
        return {"type": "http.request", "body": body}

    return Request({"type": "http", "method": "PUT", "headers": []}, receive)


async def test_a_number_that_json_does_not_have() -> None:
    assert await read_object(request(b'{"user_metadata": {"loss": NaN}}'), 100) == {"user_metadata": {"loss": "NaN"}}


def test_a_number_that_json_does_not_have_in_a_form() -> None:
    new = new_asset_of(FormData({"user_metadata": '{"loss": [NaN, -Infinity]}'}))

    assert new.about == {"user_metadata": {"loss": ["NaN", "-Infinity"]}}
    for wrong in ("[1]", "{", "1"):
        with pytest.raises(AssetError):
            new_asset_of(FormData({"user_metadata": wrong}))


@pytest.mark.parametrize("body", [b"{", b"[1]", b"\xff", b""])
async def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(AssetError) as refused:
        await read_object(request(body), 100)

    assert (refused.value.status, refused.value.code) == (400, "INVALID_JSON")
