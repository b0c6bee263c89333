"""Ctrl-C while a client follows a run ends the following, and nothing else: no error of ours hides it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from comfyward.client import Client


@pytest.fixture
def over() -> threading.Event:
    return threading.Event()


@pytest.fixture
def server(over: threading.Event) -> Iterator[str]:
    """A run's events: one, and then nothing more until the test is over."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            self.wfile.write(b'id: 1\nevent: status\ndata: {"status": "QUEUED"}\n\n')
            self.wfile.flush()
            over.wait(60)

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        over.set()
        server.shutdown()


FOLLOWER = """
import signal, sys
from comfyward.client import Client
signal.signal(signal.SIGINT, signal.default_int_handler)
with Client(sys.argv[1], "cw_any") as client:
    for event in client.follow("a-run"):
        print(event.type, flush=True)
"""


def test_an_interrupt_is_an_interrupt(server: str) -> None:
    command = [sys.executable, "-c", FOLLOWER, server]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        assert follower.stdout.readline() == "status\n"
        follower.send_signal(signal.SIGINT)
        _, errors = follower.communicate(timeout=60)

    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert "RuntimeError" not in errors


def test_whoever_wants_no_more_stops(server: str) -> None:
    with Client(server, "cw_any") as client:
        events = client.follow("a-run")
        assert next(events).type == "status"

        events.close()  # type: ignore[attr-defined]
