"""A URL becomes a file: guarded, in parallel ranges, resumed after a break, hashed while it comes in.

The first request asks for the first part. A server that knows ranges answers 206 with the whole length, and the other
parts are fetched beside it; one that does not answers 200, and the file is read in one stream, as is one whose bytes
come encoded. What was finished is kept in a journal beside the `.part` file, so a later try (of this or of another run)
goes on from there. A host that asks for a pause (429 or 503 with Retry-After) gets it while there is time.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
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
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from comfyward.errors import FetchFailed, FetchRefused, HostBusy, TooLarge
from comfyward.files import refusal
from comfyward.files.digest import CHUNK_BYTES
from comfyward.files.encoding import EncodingError, codings_of, decoded
from comfyward.files.guard import Guard
from comfyward.files.part import PART_BYTES, Fetched, Journal, PartFile, Progress, Validators, disk_error
from comfyward.runs.address import Address, origin_of, parse_address, password_of, redirected

MAX_REDIRECTS = 10
MAX_TRIES = 4
CONNECT_TIMEOUT_S = 20.0
READ_TIMEOUT_S = 60.0
REFUSAL_TIMEOUT_S = 5.0
BACKOFF_S, MAX_BACKOFF_S = 0.3, 30.0
USER_AGENT = "comfyward/0.1"

_RETRYABLE_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_BUSY_STATUS = frozenset({429, 503})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


T = TypeVar("T")


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
    _late: Stop = field(init=False, default_factory=Stop)

    def run(self) -> Fetched | None:
        """The finished file, or None when the server says that it has not changed since `known`.

        Raises FetchFailed, FetchRefused, HostBusy, TooLarge, StorageFull or Stopped.
        """
        self._deadline = time.monotonic() + self.limits.seconds
        alarm = threading.Timer(self.limits.seconds, self._late.set)
        alarm.daemon = True
        alarm.start()
        try:
            return self._patiently(self._run_once)
        except _Retry as retry:
            raise retry.error from retry
        finally:
            alarm.cancel()

    @contextlib.contextmanager
    def _ending(self, opened: socket.socket) -> Iterator[None]:
        """Ends what is read from a socket when the caller stops it or there is no time left."""
        with self.stop.shutting(opened), self._late.shutting(opened):
            yield

    @property
    def host(self) -> str:
        return urlsplit(self._address.url).hostname or ""

    @functools.cached_property
    def _address(self) -> Address:
        try:
            return parse_address(self.url)
        except ValueError as error:
            raise FetchFailed(f"The URL cannot be fetched: {error}.") from error

    def _patiently(self, act: Callable[[], T]) -> T:
        """Tries again what may go better. Pauses that a host asks for are no tries, but grow too. Raises _Retry."""
        tries = pauses = 0
        while True:
            try:
                return act()
            except _Retry as retry:
                tries, pauses = tries + (retry.after_s is None), pauses + 1
                if tries == MAX_TRIES:
                    raise
                self._pause(pauses, retry)

    def _run_once(self) -> Fetched | None:
        journal = Journal.load(self.target)
        answer = self._open(self._address, self._first_headers())
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
        start, end = file.bounds(part)
        headers = {"Range": f"bytes={start}-{end - 1}"}
        if answer.validators.strong:
            headers["If-Range"] = answer.validators.strong

        def fetch() -> None:
            with self._open(answer.address, headers) as piece:
                if piece.status != 206 or piece.start != start:
                    raise _Retry(FetchFailed(f"The file at '{self.host}' changed while it was fetched."))
                self._read_part(piece, file, part)

        self._patiently(fetch)

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
                with self._ending(answer.socket):
                    count = answer.readinto(buffer[:want])
            except (OSError, EOFError, http.client.HTTPException) as error:
                self._check()
                why = str(error) or "it ended too early"
                raise _Retry(FetchFailed(f"The download from '{self.host}' broke off: {why}.")) from error
            except EncodingError as error:
                raise FetchFailed(f"'{self.host}' sent something that cannot be decoded: {error}.") from error
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

    def _open(self, address: Address, headers: Mapping[str, str]) -> _Answer:
        """The answer to a GET after redirects. Raises _Retry, FetchFailed, FetchRefused."""
        for _ in range(MAX_REDIRECTS + 1):
            self._check()
            answer = self._request(address, headers)
            if answer.status not in _REDIRECTS:
                return self._judge(answer)
            answer.close()
            if not (location := answer.header("Location")):
                raise FetchFailed(f"'{self.host}' answered {answer.status} without saying where the file is.")
            try:
                address = redirected(address.url, location)
            except ValueError as error:
                message = f"'{self.host}' redirects to something that is not http or https."
                raise FetchFailed(message) from error
        raise FetchFailed(f"'{self.host}' redirects more than {MAX_REDIRECTS} times.")

    def _own_headers(self, address: Address) -> dict[str, str]:
        """The caller's headers, for the host they were given for only; else what the address itself held."""
        login = {"Authorization": address.authorization} if address.authorization else {}
        return _merged(login, self.headers) if origin_of(address.url) == origin_of(self._address.url) else login

    def _judge(self, answer: _Answer) -> _Answer:
        """An answer that has the file or a part of it. Raises _Retry, FetchFailed."""
        if answer.status in (206, 416) and not answer.is_part:
            answer.close()
            return self._whole(answer.address)
        if answer.status not in (200, 206, 304):
            raise self._refused(answer)
        return answer

    def _whole(self, address: Address) -> _Answer:
        """The same file without a range: of an empty file some servers refuse any, and of an encoded one none helps."""
        answer = self._request(address, {})
        if answer.status != 200:
            raise self._refused(answer)
        return answer

    def _refused(self, answer: _Answer) -> Exception:
        """What to raise for an answer without a file: with what the host says, and with how long it wants to wait."""
        with answer, self._ending(answer.socket):
            said = refusal.sentence_of(answer.read_refusal(), self._secrets())
        message = f"'{self.host}' answered {answer.status}{f': {said}' if said else ''}"
        message += "" if message.endswith((".", "!", "?", "…")) else "."
        if answer.status not in _BUSY_STATUS:
            error = FetchFailed(message, http_status=answer.status)
            return _Retry(error) if answer.status in _RETRYABLE_STATUS else error
        after_s = refusal.wait_of(answer.header("Retry-After"), datetime.datetime.now(datetime.UTC))
        if after_s is not None:
            message += f" It asks to come again in {after_s:.0f} s."
        return _Retry(HostBusy(message, http_status=answer.status), after_s)

    def _secrets(self) -> list[str]:
        """What the host may say back to us and nobody else is to see."""
        values = (*self.headers.values(), self._address.authorization or "")
        parts = (part for value in values for part in (value, value.rpartition(" ")[2], password_of(value)))
        return [part for part in parts if len(part) > 3]

    def _request(self, address: Address, headers: Mapping[str, str]) -> _Answer:
        parts = urlsplit(address.url)
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
            base = {"Host": parts.netloc, "User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity"}
            connection.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
            for name, value in _merged(base, self._own_headers(address), headers).items():
                connection.putheader(name, value)
            connection.endheaders()
            with self._ending(opened):
                response = connection.getresponse()
            return _Answer(connection, response, address, opened, self._check)
        except (OSError, http.client.HTTPException, UnicodeError, ValueError) as error:
            connection.close()
            self._check()
            raise _Retry(FetchFailed(f"Cannot fetch from '{host}': {error}.", host=host)) from error
        except EncodingError as error:
            connection.close()
            raise FetchFailed(f"'{host}' sent something that cannot be decoded: {error}.") from error
        except FetchRefused:
            raise
        except FetchFailed as error:
            raise _Retry(error) from error

    def _check(self) -> None:
        if self.stop.is_set():
            raise Stopped
        if time.monotonic() > self._deadline:
            raise FetchFailed(f"The download from '{self.host}' took longer than {self.limits.seconds:g} s.")

    def _pause(self, pauses: int, retry: _Retry) -> None:
        """Raises the error itself when the host asks for more time than there is."""
        backoff_s = min(MAX_BACKOFF_S, BACKOFF_S * 2 ** min(pauses - 1, 20))
        spread_s = backoff_s * random.uniform(0.5, 1.0)  # noqa: S311  spreads retries, no secret
        pause_s = max(spread_s, retry.after_s or 0.0)
        if retry.after_s is not None and time.monotonic() + pause_s > self._deadline:
            raise retry.error from retry
        if self.stop.wait(pause_s):
            raise Stopped
        self._check()


class _Retry(Exception):
    """Something that may go better next time, perhaps after a time; carries the error to raise when it does not."""

    def __init__(self, error: FetchFailed, after_s: float | None = None) -> None:
        super().__init__(error.message)
        self.error, self.after_s = error, after_s


class _Answer:
    """A response being read, with what its headers say about the whole file."""

    def __init__(
        self,
        connection: http.client.HTTPConnection,
        response: http.client.HTTPResponse,
        address: Address,
        opened: socket.socket,
        check: Callable[[], None],
    ) -> None:
        self._connection, self._response, self.address, self.socket = connection, response, address, opened
        self.status = response.status
        self.validators = Validators(response.getheader("ETag"), response.getheader("Last-Modified"))
        self._codings = codings_of(response.getheader("Content-Encoding"))
        self._decoded = decoded(self._codings, response.read1, check)
        self.start, self.total = self._extent()

    @property
    def is_part(self) -> bool:
        """Whether it is a part of a file of known length, to which others can be put."""
        return self.status == 206 and self.total is not None

    def header(self, name: str) -> str | None:
        return self._response.getheader(name)

    def readinto(self, buffer: memoryview) -> int:
        if not self._codings:
            return self._response.readinto(buffer)
        piece = self._decoded(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def read_refusal(self) -> bytes:
        """The beginning of an answer that is no file, as far as it comes soon."""
        self.socket.settimeout(REFUSAL_TIMEOUT_S)
        body, ends_at = b"", time.monotonic() + REFUSAL_TIMEOUT_S
        with contextlib.suppress(OSError, EOFError, ValueError, EncodingError, http.client.HTTPException):
            while (
                time.monotonic() < ends_at
                and len(body) < refusal.READ_BYTES
                and (piece := self._decoded(refusal.READ_BYTES - len(body)))
            ):
                body += piece
        return body

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> _Answer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _extent(self) -> tuple[int, int | None]:
        if self._codings:
            return 0, None  # lengths and ranges are those of the encoded bytes
        if self.status == 206:
            match = _CONTENT_RANGE.fullmatch(self.header("Content-Range") or "")
            return (int(match[1]), int(match[3])) if match else (0, None)
        length = self.header("Content-Length")
        return 0, int(length) if length is not None and length.isdigit() else None


def _merged(*headers: Mapping[str, str]) -> dict[str, str]:
    """Headers of which the later ones replace the earlier ones, in whatever letters their names are written."""
    found = {name.lower(): (name, value) for each in headers for name, value in each.items()}
    return dict(found.values())


def _shut(opened: socket.socket) -> None:
    with contextlib.suppress(OSError):
        opened.shutdown(socket.SHUT_RDWR)


@functools.cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
