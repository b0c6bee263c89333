"""Clients that send slowly, nothing, or headers without end are hung up on; an address has its share; whoever waits for
an answer stays."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from comfyward.server.connections import MOST_HEAD_BYTES
from tests.stack.conftest import StartFake
from tests.stack.graphs import picture
from tests.stack.stack import Stack

MOST = 20
PATH = "/api/v1/workflows/default/runs"
UPGRADE = (
    "GET /comfy/ws HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\nConnection: Upgrade\r\n"
    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once(fleet="none", accelerators="CPU", request_timeout_s="1")


@contextlib.contextmanager
def connected(stack: Stack, sent: str = "") -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", stack.port), timeout=120) as client:
        client.sendall(sent.encode())
        yield client


def all_of(client: socket.socket) -> bytes:
    """What the server sends until it hangs up, maybe on what was sent a moment later."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while piece := client.recv(65536):
            received += piece
    return received


@pytest.mark.parametrize("sent", ["", "GET /healthz HT", "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_headers_that_do_not_come_end_the_connection(stack: Stack, sent: str) -> None:
    with connected(stack, sent) as client:
        assert all_of(client) == b""


@pytest.mark.parametrize(
    "start",
    [
        "GET /{long}",
        "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: {long}",
        "GET /healthz HTTP/1.1\r\nHost: x\r\n{many}",
        "POST {path} HTTP/1.1\r\nHost: x\r\n{key}Transfer-Encoding: chunked\r\n\r\n1;{long}",
        "POST {path} HTTP/1.1\r\nHost: x\r\n{key}Transfer-Encoding: chunked\r\n\r\n0\r\n{many}",
    ],
    ids=["address", "one header", "many headers", "extension", "trailers"],
)
def test_headers_without_end_are_refused_before_they_fill_the_memory(stack: Stack, start: str) -> None:
    key = f"Authorization: Bearer {stack.client('ada').key}\r\n"
    long, many = "a" * (2 * MOST_HEAD_BYTES), "X-Many: a\r\n" * (MOST_HEAD_BYTES // 5)
    with connected(stack, start.format(long=long, many=many, path=PATH, key=key)) as client:
        assert all_of(client).startswith(b"HTTP/1.1 431")


def test_the_next_request_on_a_connection_has_the_same_deadline(stack: Stack) -> None:
    with connected(stack, "HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n") as client:
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost")
        assert all_of(client) == b""


@pytest.mark.parametrize("framing", ["Content-Length: 100000", "Transfer-Encoding: chunked"])
def test_a_body_that_comes_too_slowly_ends_the_connection(stack: Stack, framing: str) -> None:
    key = stack.client("ada").key
    start = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n{framing}\r\n\r\n"
    with connected(stack, f"{start}5\r\n{{") as client:
        assert all_of(client) == b""


def test_a_refused_request_has_no_longer_to_send_its_body(stack: Stack) -> None:
    with connected(stack, f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{{") as client:
        assert all_of(client).startswith(b"HTTP/1.1 401")


def test_an_answer_may_take_its_time(stack: Stack) -> None:
    ada = stack.client("ada")
    run_id = ada.submit(picture())

    waited = ada.http.get(f"/api/v1/runs/{run_id}", params={"wait": 2.5})

    assert waited.json()["status"] == "QUEUED"


def test_an_address_has_a_number_of_connections_websockets_among_them(start_fake: StartFake) -> None:
    stack = start_fake(fleet="none", connections_per_address=str(MOST))
    ada = stack.client("ada")
    upgrade = UPGRADE.format(host=f"127.0.0.1:{stack.port}", key=ada.key)
    with contextlib.ExitStack() as held:
        for _ in range(MOST):
            client = held.enter_context(connected(stack, upgrade))
            assert client.recv(12) == b"HTTP/1.1 101"
        with connected(stack) as refused:
            assert all_of(refused).startswith(b"HTTP/1.1 503")
    assert _is_served_again(stack)


def test_workers_do_not_count_as_strangers_of_their_address(start_fake: StartFake) -> None:
    stack = start_fake(fleet="none", connections_per_address=str(MOST))
    token = stack.cli("tokens", "create", "garage").strip()
    call = "POST /worker/v1/lease HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: 2\r\n\r\n[]"
    with contextlib.ExitStack() as held:
        for _ in range(3 * MOST):
            worker = held.enter_context(connected(stack, call.format(token)))
            assert worker.recv(65536).startswith(b"HTTP/1.1 4")  # the empty call is refused, after its token was seen
        for _ in range(MOST):
            stranger = held.enter_context(connected(stack, call.format("guessed")))
            assert stranger.recv(65536).startswith(b"HTTP/1.1 401")
        with connected(stack) as refused:
            assert all_of(refused).startswith(b"HTTP/1.1 503")


def _is_served_again(stack: Stack) -> bool:
    """True once the server has seen that the others hung up."""
    while True:
        with connected(stack, "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") as client:
            if all_of(client).startswith(b"HTTP/1.1 200"):
                return True
