"""Requests that two programs could read in different ways are refused, and none of them holds a connection."""

from __future__ import annotations

import socket

import pytest

from tests.servers import free_port
from tests.stack.conftest import StartFake
from tests.stack.stack import Stack

UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n".format(
    "dGhlIHNhbXBsZSBub25jZQ=="
)
CHUNKED = "Transfer-Encoding: chunked\r\n"
HIDDEN = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
REQUESTS = {
    "length and chunks": f"POST / HTTP/1.1\r\nHost: x\r\n{CHUNKED}Content-Length: 6\r\n\r\n{HIDDEN}",
    "two lengths": f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: {len(HIDDEN)}\r\n\r\n{HIDDEN}",
    "unknown coding": f"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{HIDDEN}",
    "folded header": "GET / HTTP/1.1\r\nHost: x\r\nX-A: b\r\n c\r\n\r\n",
    "bare line ends": "GET / HTTP/1.1\nHost: x\n\n",
    "two hosts": "GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "the same host twice": "GET /healthz HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
    "another host in the target": "GET http://y/healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "websocket with a body": f"POST / HTTP/1.1\r\nHost: x\r\n{UPGRADE}Content-Length: 9\r\n\r\n",
    "websocket with chunks": f"GET / HTTP/1.1\r\nHost: x\r\n{UPGRADE}{CHUNKED}\r\n",
}
ENDLESS = f"GET / HTTP/1.1\r\nHost: x\r\n{UPGRADE}" + "X-Many: a\r\n" * 300 + "\r\n"


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once(fleet="none", native_port=str(free_port()), native_open="true")


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_at_every_port(stack: Stack, request_: str) -> None:
    for port in (stack.port, int(stack.settings["native_port"])):
        answer = answer_to(port, request_)
        assert answer.startswith(b"HTTP/1.1 400"), answer
        assert answer.count(b"HTTP/1.1 ") == 1


def test_a_websocket_whose_headers_are_refused_is_hung_up_on(stack: Stack) -> None:
    assert answer_to(stack.port, ENDLESS).startswith(b"HTTP/1.1 431")


def test_the_same_host_in_the_target_is_taken(stack: Stack) -> None:
    asked = "GET http://x/healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert answer_to(stack.port, asked).startswith(b"HTTP/1.1 200")


def answer_to(port: int, request: str) -> bytes:
    """All that the server sends until it hangs up."""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as client:
        client.sendall(request.encode())
        received = b""
        try:
            while piece := client.recv(65536):
                received += piece
        except ConnectionResetError:  # it hung up before it had read all
            pass
        return received
