"""A URL becomes a file: guarded, in parallel ranges, resumed after a break, hashed while it comes in.

The first request asks for the first part. A server that knows ranges answers 206 with the whole length, and the other
parts are fetched beside it; one that does not answers 200, and the file is read in one stream. What was finished is
kept in a journal beside the `.part` file, so a later try (of this or of another run) goes on from there.
"""

from __future__ import annotations

import contextlib
import http.client
import random
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from comfyward.errors import FetchFailed, FetchRefused, TooLarge
from comfyward.files.digest import CHUNK_BYTES
from comfyward.files.guard import Guard
from comfyward.files.part import PART_BYTES, Fetched, Journal, PartFile, Progress, Validators, disk_error

MAX_REDIRECTS = 10
MAX_TRIES = 4
CONNECT_TIMEOUT_S = 20.0
READ_TIMEOUT_S = 60.0
BACKOFF_S = 0.3
USER_AGENT = "comfyward/0.1"

_RETRYABLE_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


@dataclass(frozen=True)
class Limits:
    bytes: int
    seconds: float
    connections: int = 8


class Stopped(Exception):
    """The caller no longer wants the file."""


class Stop(threading.Event):
    """Ends downloads: once set, sockets that are being read are shut, so nobody waits for a silent server."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()

    def set(self) -> None:
        super().set()
        with self._lock:
            for opened in self._sockets:
                _shut(opened)

    @contextlib.contextmanager
    def shutting(self, opened: socket.socket) -> Iterator[None]:
        """Shuts the socket if this is set meanwhile."""
        with self._lock:
            self._sockets.add(opened)
        if self.is_set():
            _shut(opened)
        try:
            yield
        finally:
            with self._lock:
                self._sockets.discard(opened)


@dataclass
class Fetch:
    """One download. `progress(done, total)` is called from its threads; `stop` ends it early, keeping what there is."""

    url: str
    target: Path
    guard: Guard
    limits: Limits
    headers: Mapping[str, str] = field(default_factory=dict)
    known: Validators = field(default_factory=Validators)
    progress: Progress = lambda done, total: None
    make_room: Callable[[int], None] = lambda size: None
    stop: Stop = field(default_factory=Stop)

    def run(self) -> Fetched | None:
        """The finished file, or None when the server says that it has not changed since `known`.

        Raises FetchFailed, FetchRefused, TooLarge, StorageFull or Stopped.
        """
        self._deadline = time.monotonic() + self.limits.seconds
        for attempt in range(MAX_TRIES):
            try:
                return self._run_once()
            except _Retry as retry:
                if attempt + 1 == MAX_TRIES:
                    raise retry.error from retry
                self._pause(attempt)
        raise AssertionError("unreachable")

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    def _run_once(self) -> Fetched | None:
        journal = Journal.load(self.target)
        answer = self._open(self.url, self._first_headers())
        try:
            if answer.status == 304:
                return None
            return self._receive(answer, journal)
        finally:
            answer.close()

    def _first_headers(self) -> dict[str, str]:
        headers = {"Range": f"bytes=0-{PART_BYTES - 1}"}
        if self.known.etag:
            headers["If-None-Match"] = self.known.etag
        elif self.known.last_modified:
            headers["If-Modified-Since"] = self.known.last_modified
        return headers

    def _receive(self, answer: _Answer, journal: Journal | None) -> Fetched:
        total = answer.total
        if total is not None and total > self.limits.bytes:
            raise TooLarge(f"The file at '{self.host}' has {total} bytes, over the limit of {self.limits.bytes}.")
        if (
            journal is None
            or journal.total != total
            or journal.validators != answer.validators
            or not journal.validators
        ):
            journal = Journal(total, answer.validators, set())
            self.target.unlink(missing_ok=True)
        try:
            self.make_room(total or 0)
            with PartFile(self.target, journal, self.progress) as file:
                self._transfer(answer, file)
                return file.finish()
        except OSError as error:
            raise disk_error(error) from error

    def _transfer(self, answer: _Answer, file: PartFile) -> None:
        if answer.status != 206 or answer.total is None:
            self._read_stream(answer, file)
            return
        missing = file.missing_parts()
        if missing and missing[0] == 0:
            self._read_part(answer, file, missing.pop(0))
        connections = min(self.limits.connections, len(missing))
        if connections:
            self._read_parts(answer, file, missing, connections)

    def _read_parts(self, answer: _Answer, file: PartFile, missing: list[int], connections: int) -> None:
        queue, lock = list(reversed(missing)), threading.Lock()
        broken = threading.Event()

        def worker() -> None:
            while not broken.is_set():
                with lock:
                    if not queue:
                        return
                    part = queue.pop()
                try:
                    self._fetch_part(answer, file, part)
                except BaseException:
                    broken.set()
                    raise

        with ThreadPoolExecutor(connections, thread_name_prefix="fetch") as pool:
            for future in [pool.submit(worker) for _ in range(connections)]:
                future.result()

    def _fetch_part(self, answer: _Answer, file: PartFile, part: int) -> None:
        for attempt in range(MAX_TRIES):
            try:
                start, end = file.bounds(part)
                headers = {"Range": f"bytes={start}-{end - 1}"}
                if answer.validators.strong:
                    headers["If-Range"] = answer.validators.strong
                with self._open(answer.url, headers, origin=self.url) as piece:
                    if piece.status != 206 or piece.start != start:
                        raise _Retry(FetchFailed(f"The file at '{self.host}' changed while it was fetched."))
                    self._read_part(piece, file, part)
                return
            except _Retry:
                if attempt + 1 == MAX_TRIES:
                    raise
                self._pause(attempt)

    def _read_part(self, answer: _Answer, file: PartFile, part: int) -> None:
        start, end = file.bounds(part)
        self._copy(answer, file, start, end - start)
        file.part_done(part)

    def _read_stream(self, answer: _Answer, file: PartFile) -> None:
        file.stream_done(self._copy(answer, file, 0, answer.total, file.streamed_to))

    def _copy(
        self,
        answer: _Answer,
        file: PartFile,
        offset: int,
        length: int | None,
        reached: Callable[[int], None] = lambda offset: None,
    ) -> int:
        buffer = memoryview(bytearray(CHUNK_BYTES))
        done = 0
        while length is None or done < length:
            self._check()
            want = CHUNK_BYTES if length is None else min(CHUNK_BYTES, length - done)
            try:
                with self.stop.shutting(answer.socket):
                    count = answer.readinto(buffer[:want])
            except (OSError, http.client.HTTPException) as error:
                self._check()
                raise _Retry(FetchFailed(f"The download from '{self.host}' broke off: {error}.")) from error
            if count == 0:
                break
            if offset + done + count > self.limits.bytes:
                raise TooLarge(f"The file at '{self.host}' is larger than {self.limits.bytes} bytes.")
            file.write(buffer[:count], offset + done)
            done += count
            reached(offset + done)
        if length is not None and done < length:
            raise _Retry(FetchFailed(f"The download from '{self.host}' ended after {done} of {length} bytes."))
        return done

    def _open(self, url: str, headers: Mapping[str, str], origin: str | None = None) -> _Answer:
        """The answer to a GET after redirects. The caller's own headers go to the host they were given for only."""
        home = urlsplit(origin or url)
        for _ in range(MAX_REDIRECTS + 1):
            self._check()
            parts = urlsplit(url)
            own = self.headers if (parts.scheme, parts.netloc) == (home.scheme, home.netloc) else {}
            answer = self._request(url, {**own, **headers})
            if answer.status not in (301, 302, 303, 307, 308):
                return self._judge(answer)
            location = answer.header("Location")
            answer.close()
            url = urljoin(url, location or "")
            if urlsplit(url).scheme not in ("http", "https"):
                raise FetchFailed(f"'{self.host}' redirects to something that is not http or https.")
        raise FetchFailed(f"'{self.host}' redirects more than {MAX_REDIRECTS} times.")

    def _judge(self, answer: _Answer) -> _Answer:
        if answer.status == 206 and answer.total is None:
            answer.close()
            return self._whole(answer)
        if answer.status in (200, 206, 304):
            if answer.header("Content-Encoding") not in (None, "identity"):
                answer.close()
                raise FetchFailed(f"'{self.host}' sent compressed bytes that were not asked for.")
            return answer
        answer.close()
        if answer.status == 416:
            return self._whole(answer)
        error = FetchFailed(f"'{self.host}' answered {answer.status}.", http_status=answer.status)
        if answer.status in _RETRYABLE_STATUS:
            raise _Retry(error)
        raise error

    def _whole(self, refused: _Answer) -> _Answer:
        """The same file without a range: some servers refuse any range of an empty file."""
        answer = self._request(refused.url, dict(self.headers) if refused.url == self.url else {})
        if answer.status != 200:
            answer.close()
            raise FetchFailed(f"'{self.host}' answered {answer.status}.", http_status=answer.status)
        return answer

    def _request(self, url: str, headers: Mapping[str, str]) -> _Answer:
        parts = urlsplit(url)
        host, secure = parts.hostname or "", parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        connection = http.client.HTTPConnection(host, port, timeout=READ_TIMEOUT_S)
        try:
            opened = self.guard.connect(host, port, CONNECT_TIMEOUT_S)
            opened.settimeout(READ_TIMEOUT_S)
            if secure:
                opened = _tls().wrap_socket(opened, server_hostname=host)
            connection.sock = opened
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            base = {"Host": parts.netloc.rpartition("@")[2], "User-Agent": USER_AGENT, "Accept": "*/*"}
            connection.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
            for name, value in {**base, "Accept-Encoding": "identity", **headers}.items():
                connection.putheader(name, value)
            connection.endheaders()
            with self.stop.shutting(opened):
                response = connection.getresponse()
            return _Answer(connection, response, url, opened)
        except (OSError, http.client.HTTPException, UnicodeError, ValueError) as error:
            connection.close()
            self._check()
            raise _Retry(FetchFailed(f"Cannot fetch from '{host}': {error}.", host=host)) from error
        except FetchRefused:
            raise
        except FetchFailed as error:
            raise _Retry(error) from error

    def _check(self) -> None:
        if self.stop.is_set():
            raise Stopped
        if time.monotonic() > self._deadline:
            raise FetchFailed(f"The download from '{self.host}' took longer than {self.limits.seconds:g} s.")

    def _pause(self, attempt: int) -> None:
        pause_s = BACKOFF_S * 2**attempt * random.uniform(0.5, 1.0)  # noqa: S311  spreads retries, no secret
        if self.stop.wait(pause_s):
            raise Stopped
        self._check()


class _Retry(Exception):
    """Something that may go better next time; carries the error to raise when it does not."""

    def __init__(self, error: FetchFailed) -> None:
        super().__init__(error.message)
        self.error = error


class _Answer:
    """A response being read, with what its headers say about the whole file."""

    def __init__(
        self,
        connection: http.client.HTTPConnection,
        response: http.client.HTTPResponse,
        url: str,
        opened: socket.socket,
    ) -> None:
        self._connection, self._response, self.url, self.socket = connection, response, url, opened
        self.status = response.status
        self.validators = Validators(response.getheader("ETag"), response.getheader("Last-Modified"))
        self.start, self.total = self._extent()

    def header(self, name: str) -> str | None:
        return self._response.getheader(name)

    def readinto(self, buffer: memoryview) -> int:
        return self._response.readinto(buffer)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> _Answer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _extent(self) -> tuple[int, int | None]:
        if self.status == 206:
            match = _CONTENT_RANGE.fullmatch(self.header("Content-Range") or "")
            return (int(match[1]), int(match[3])) if match else (0, None)
        length = self.header("Content-Length")
        return 0, int(length) if length is not None and length.isdigit() else None


def _shut(opened: socket.socket) -> None:
    with contextlib.suppress(OSError):
        opened.shutdown(socket.SHUT_RDWR)


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
