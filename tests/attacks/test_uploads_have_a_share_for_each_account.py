"""An account uploads a few files at a time, and none further than it has room; others upload meanwhile."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from comfyward.api.receiving import RECEIVED_EACH
from tests.stack.conftest import StartFake
from tests.stack.stack import Client, Stack

LIMIT = 1000
GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"
PIECES = "Transfer-Encoding: chunked\r\nExpect: 100-continue"
FORM = "Content-Type: multipart/form-data; boundary=x"
FORMS = tuple(
    f"POST {path}"
    for path in ("/api/v1/files", "/api/v2/assets", "/comfy/upload/image", "/comfy/upload/mask", "/comfy/api/assets")
)


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    limits = {f"quota_{kind}_bytes": str(LIMIT) for kind in ("inputs", "models")}
    return start_fake_once(fleet="none", **limits)


@contextlib.contextmanager
def begun(stack: Stack, client: Client, way: str, *headers: str) -> Iterator[socket.socket]:
    """An upload of which only the headers are sent."""
    lines = [f"{way} HTTP/1.1", "Host: x", f"Authorization: Bearer {client.key}", *headers, "", ""]
    with socket.create_connection(("127.0.0.1", stack.port), timeout=120) as connected:
        connected.sendall("\r\n".join(lines).encode())
        yield connected


WAYS = {
    "POST /api/v1/files?path=/input/a": PIECES,
    "PUT /comfy/etn/upload/loras/a.safetensors": PIECES,
    "POST /comfy/api/userdata/a": PIECES,
    **dict.fromkeys(FORMS, f"{PIECES}\r\n{FORM}"),
}


@pytest.mark.parametrize("path", WAYS)
def test_the_uploads_of_an_account_take_turns(stack: Stack, path: str) -> None:
    hostile, other = stack.client(path), stack.client(f"beside {path}"[:60])
    with contextlib.ExitStack() as held:
        taking = [held.enter_context(begun(stack, hostile, path, WAYS[path])) for _ in range(RECEIVED_EACH)]
        assert [each.recv(65536) for each in taking] == [GO_ON] * RECEIVED_EACH
        for another in WAYS:
            with begun(stack, hostile, another, WAYS[another]) as waits:
                assert other.http.post("/api/v1/files?path=/input/a", content=b"small").status_code == 201
                waits.setblocking(False)
                with pytest.raises(BlockingIOError):
                    waits.recv(65536)
        last = held.enter_context(begun(stack, hostile, path, WAYS[path]))
        for each in taking:
            each.close()

        assert last.recv(65536) == GO_ON


@pytest.mark.parametrize("path", FORMS)
def test_a_form_is_received_no_further_than_there_is_room(stack: Stack, path: str) -> None:
    client = stack.client("sends forms")

    with begun(stack, client, path, FORM, f"Content-Length: {10 << 30}") as refused:
        answer = refused.recv(65536)

    assert answer.startswith(b"HTTP/1.1 403")
