"""Whatever a header holds in place of an address, the answer is one, and the log has no traceback."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from tests import loopback
from tests.stack.conftest import StartFake
from tests.stack.stack import Stack

NO_ADDRESSES = (
    "http://[",
    "http://[::1",
    "//[x]y",
    "http://\u2100.example/".encode().decode("latin-1"),
    "null",
    "\\\\x",
)


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once(fleet="none")


@pytest.mark.parametrize("address", NO_ADDRESSES)
def test_it_is_answered(stack: Stack, address: str) -> None:
    headers = {name.encode(): address.encode("latin-1") for name in ("Origin", "Referer", "HX-Current-URL")}
    client = stack.client()
    with loopback.Client(base_url=stack.url) as visitor:
        assert visitor.get("/workflows", headers={**headers, b"HX-Request": b"true"}).status_code < 500
        assert visitor.post("/workflows", headers=headers).status_code < 500
        editors = {**headers, b"Host": urlsplit(stack.editor_url).netloc.encode()}
        assert visitor.get("/extensions/kj/a.js", headers=editors).status_code == 404
    for method, path in (("GET", "/comfy/queue"), ("POST", "/comfy/queue"), ("GET", "/api/v1/workflows")):
        assert client.http.request(method, path, headers=headers).status_code < 500, (method, path)
    assert "Traceback" not in (stack.data_dir / "server.log").read_text()
