"""HTTP servers for tests: an origin of files with faults, and a receiver of webhooks. Both are real servers."""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue

STOP_POLL_S = 0.01  # how soon a server notices that it is to stop
DRIP_S = 0.005


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is what some tests are about."""


@dataclass
class Content:
    """One file of the origin, and what goes wrong with it."""

    data: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    break_after: int | None = None  # bytes of an answer after which the connection is cut
    breaks: int = 0  # how often
    refusals: int | None = None  # how often `status` and `refusal` are answered before the file; None for ever
    refusal: bytes = b""
    has_etag: bool = True
    hold: threading.Event | None = None  # answers wait for it
    dry: threading.Event | None = None  # the bytes come one by one until it is set, and then no more
    dry_from: int = 0  # of ranges that begin here or later

    @cached_property
    def etag(self) -> str:
        return f'"{hashlib.sha256(self.data).hexdigest()[:16]}"'


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""
    pairs: tuple[tuple[str, str], ...] = ()  # the headers as they came


class Origin:
    """Serves `files` by path. `requests` holds what was asked, `asked` gets each path as it comes."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.files: dict[str, Content] = {}
        self.requests: list[Request] = []
        self.asked: Queue[str] = Queue()

    def put(self, path: str, data: bytes, **how: object) -> str:
        self.files[path] = Content(data, **how)  # type: ignore[arg-type]
        return f"{self.url}{path}"

    def requests_to(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.path == path]


@contextmanager
def origin(host: str = "127.0.0.1", certificate: Path | None = None) -> Iterator[Origin]:
    """With a certificate and its key in one file (PEM) it speaks TLS."""
    served: list[Origin] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            """As GET, without the body; `asked` is for requests of the file."""
            self.do_GET()

        def do_GET(self) -> None:
            site = served[0]
            path = self.path.partition("?")[0]
            site.requests.append(Request(self.command, path, dict(self.headers), pairs=tuple(self.headers.items())))
            if self.command == "GET":
                site.asked.put(path)
            content = site.files.get(path)
            if content is None:
                return self._answer(404, b"not found", {})
            if content.hold is not None:
                content.hold.wait()
            if content.status != 200 and content.refusals != 0:
                content.refusals = None if content.refusals is None else content.refusals - 1
                return self._answer(content.status, content.refusal, content.headers)
            if self.headers.get("If-None-Match") == content.etag:
                return self._answer(304, b"", {"ETag": content.etag})
            return self._file(content)

        def _file(self, content: Content) -> None:
            headers = {**({"ETag": content.etag} if content.has_etag else {}), **content.headers}
            data, status, start = memoryview(content.data), 200, 0
            match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if match and content.ranges and data:
                start, end = int(match[1]), min(int(match[2] or len(data) - 1), len(data) - 1)
                headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
                data, status = data[start : end + 1], 206
            if content.dry is not None and start >= content.dry_from:
                return self._answer(status, data, headers, dry=content.dry)
            if content.break_after is not None and content.breaks > 0 and len(data) > content.break_after:
                content.breaks -= 1
                return self._answer(status, data, headers, cut=content.break_after)
            return self._answer(status, data, headers)

        def _answer(
            self,
            status: int,
            data: bytes | memoryview,
            headers: dict[str, str],
            cut: int | None = None,
            dry: threading.Event | None = None,
        ) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if status != 304:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command == "HEAD":
                return
            if dry is not None:
                return self._drip(data, dry)
            self.wfile.write(data[:cut])
            if cut is not None:
                self.wfile.flush()
                self.close_connection = True

        def _drip(self, data: bytes | memoryview, dry: threading.Event) -> None:
            for at in range(len(data)):
                if dry.wait(DRIP_S):
                    self.rfile.read(1)  # returns when the client hangs up
                    return
                self.wfile.write(data[at : at + 1])

        def log_message(self, *_: object) -> None:
            return

    with _Server((host, 0), Handler) as server:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        scheme = "http" if certificate is None else "https"
        served.append(Origin(f"{scheme}://{host}:{server.server_address[1]}"))
        threading.Thread(target=server.serve_forever, args=(STOP_POLL_S,), daemon=True).start()
        yield served[0]
        server.shutdown()


class Faucet:
    """A bare server that begins every answer with the same bytes. `opened` is the number of its connections.

    `dripped` gets each drop as it is sent.
    """

    def __init__(self, url: str) -> None:
        self.url, self.opened = url, 0
        self.dripped: Queue[bytes] = Queue()


@contextmanager
def faucet(first: bytes, drop: bytes) -> Iterator[Faucet]:
    """Sends `first` to whoever connects, and then drop after drop until the client hangs up; no drop is silence."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        served = Faucet(f"http://127.0.0.1:{server.getsockname()[1]}/file")
        over = threading.Event()

        def serve(opened: socket.socket) -> None:
            with opened, contextlib.suppress(OSError):
                opened.sendall(first)
                while not over.wait(DRIP_S):
                    opened.sendall(drop)
                    served.dripped.put(drop)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    opened, _ = server.accept()
                    served.opened += 1
                    threading.Thread(target=serve, args=(opened,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield served
        over.set()
        server.shutdown(socket.SHUT_RDWR)


ELSEWHERE = "/elsewhere"


class Receiver:
    """Takes webhooks. `statuses` are answered first, then 200; answers wait for `hold`. Redirects lead to ELSEWHERE."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.statuses: list[int] = []
        self.hold: threading.Event | None = None
        self.received: Queue[Request] = Queue()

    def next(self, timeout_s: float = 120) -> Request:
        return self.received.get(timeout=timeout_s)


@contextmanager
def receiver(port: int = 0, statuses: Sequence[int] = (), host: str = "127.0.0.1") -> Iterator[Receiver]:
    served: list[Receiver] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            served[0].received.put(Request("POST", self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            if served[0].hold is not None:
                served[0].hold.wait(120)
            status = served[0].statuses.pop(0) if served[0].statuses else 200
            self.send_response(status)
            if status == HTTPStatus.TEMPORARY_REDIRECT:
                self.send_header("Location", ELSEWHERE)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with _Server((host, port), Handler) as server:
        served.append(Receiver(f"http://{host}:{server.server_address[1]}/hook"))
        served[0].statuses.extend(statuses)
        threading.Thread(target=server.serve_forever, args=(STOP_POLL_S,), daemon=True).start()
        yield served[0]
        server.shutdown()
