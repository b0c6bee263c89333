"""The load balancer of deploy/: no client sees an error while one server drains and the other has just started."""

from __future__ import annotations

from pathlib import Path

from tests import loopback
from tests.fakes.http import Origin, origin
from tests.servers import free_port
from tests.stack.cluster import balance

STATUS, READY = "/healthz", "/readyz"


def test_a_request_is_answered_although_no_server_is_ready(tmp_path: Path) -> None:
    with origin() as one, origin() as other:
        port = free_port()
        for server in (one, other):
            server.put(STATUS, b"up")
        balancer = balance(tmp_path, port, [_port(one), _port(other)])
        try:
            for server in (one, other):
                _wait_for_checks(server, 2)  # the first has been answered, so the balancer knows

            answer = loopback.get(f"http://127.0.0.1:{port}{STATUS}")
        finally:
            balancer.kill()
            balancer.wait()

    assert (answer.status_code, answer.text) == (200, "up")


def _wait_for_checks(server: Origin, count: int) -> None:
    while count:
        count -= server.asked.get(timeout=120) == READY


def _port(server: Origin) -> int:
    return int(server.url.rpartition(":")[2])
