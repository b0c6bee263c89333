"""The load balancer of deploy/: a client whose headers do not come is hung up on, and an address has its connections.

Both are tried with smaller numbers than the file has.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from tests.fakes.http import origin
from tests.servers import free_port
from tests.stack.cluster import balance

MOST = 5
SMALLER = ((r"timeout http-request 20s", "timeout http-request 1s"), (r"gt 1000 ", f"gt {MOST} "))
REQUEST = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
STRANGER, CROWD = "127.0.0.2", "127.0.0.3"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with origin() as one, origin() as other:
        for server in (one, other):
            for path in ("/healthz", "/readyz"):
                server.put(path, b"up")
        port = free_port()
        ports = [int(server.url.rpartition(":")[2]) for server in (one, other)]
        balancer = balance(tmp_path_factory.mktemp("balancer"), port, ports, changes=SMALLER)
        try:
            yield port
        finally:
            balancer.kill()
            balancer.wait()


@contextlib.contextmanager
def connected(port: int, sent: bytes, address: str) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=120, source_address=(address, 0)) as client:
        client.sendall(sent)
        yield client


def all_of(client: socket.socket) -> bytes:
    """What the balancer sends until it hangs up."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while piece := client.recv(65536):
            received += piece
    return received


@pytest.mark.parametrize("sent", [b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_headers_that_do_not_come_end_the_connection(port: int, sent: bytes) -> None:
    with connected(port, sent, STRANGER) as client:
        assert all_of(client).startswith(b"HTTP/1.1 408")


def test_the_next_request_on_a_connection_has_the_same_deadline(port: int) -> None:
    with connected(port, REQUEST, STRANGER) as client:
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost")
        assert b"HTTP/1.1 200" not in all_of(client)


def test_an_address_has_a_number_of_connections_and_others_have_theirs(port: int) -> None:
    with contextlib.ExitStack() as held:
        for _ in range(MOST):
            client = held.enter_context(connected(port, REQUEST, CROWD))
            assert client.recv(65536).startswith(b"HTTP/1.1 200")

        assert _answer_to_one_more(port) == b""
        with connected(port, REQUEST, STRANGER) as other:
            assert other.recv(65536).startswith(b"HTTP/1.1 200")


def _answer_to_one_more(port: int) -> bytes:
    """The answer to a connection of the crowd, which may be closed before it is made."""
    try:
        with connected(port, REQUEST, CROWD) as client:
            return all_of(client)
    except ConnectionError:
        return b""
