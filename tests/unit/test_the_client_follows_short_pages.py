"""`find` of the Python client goes on where a page ended early, until it has as many runs as asked for."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from comfyward.client import Client

RUNS = [{"id": f"r{number}"} for number in range(5)]
FITTING = 2  # of large runs, on one page


@dataclass
class Server:
    """Lists RUNS, and keeps the queries that it got."""

    url: str
    asked: list[dict[str, str]] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            kept.asked.append(query)
            start = int(query.get("cursor", "0"))
            end = start + min(int(query["limit"]), FITTING)
            body = json.dumps(RUNS[start:end]).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            if end < len(RUNS):
                self.send_header("X-Next-Cursor", str(end))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        kept = Server(f"http://127.0.0.1:{listening.server_port}")
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield kept
        listening.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("limit", "asked"), [(2, ["2"]), (3, ["3", "1"]), (5, ["5", "3", "1"]), (2000, ["1000", "1000", "1000"])]
)
def test_as_many_as_asked_for(server: Server, limit: int, asked: list[str]) -> None:
    with Client(server.url, "cw_x") as client:
        found = client.find(limit=limit, status="COMPLETED")

    assert [run.id for run in found] == [run["id"] for run in RUNS[:limit]]
    assert [query["limit"] for query in server.asked] == asked
    assert {query["status"] for query in server.asked} == {"COMPLETED"}


def test_without_a_limit_it_asks_for_as_many_as_the_server_lists(server: Server) -> None:
    with Client(server.url, "cw_x") as client:
        assert len(client.find()) == len(RUNS)

    assert [query["limit"] for query in server.asked] == ["300", "298", "296"]
