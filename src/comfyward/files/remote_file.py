"""A file on another host: guarded requests that follow redirects, are retried, and end at a deadline.

A host that asks for a pause (429 or 503 with Retry-After) gets it as long as the deadline allows. One that is slow has
ANSWER_TIMEOUT_S until the headers of its answer are complete, redirects included, and then must keep a pace.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import http.client
import io
import random
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar
from urllib.parse import urlsplit

from comfyward.errors import FetchFailed, FetchRefused, HostBusy, HostSlow
from comfyward.files import refusal
from comfyward.files.answer import Answer
from comfyward.files.encoding import EncodingError
from comfyward.files.guard import Guard
from comfyward.files.pace import ANY_SPEED, LeastSpeed, Pace
from comfyward.files.stop import Stop, Stopped
from comfyward.files.wire import Wire
from comfyward.runs.address import Address, origin_of, parse_address, password_of, redirected
from comfyward.runs.files import Url

MAX_REDIRECTS = 10
MAX_ATTEMPTS = 4
CONNECT_TIMEOUT_S = 20.0
ANSWER_TIMEOUT_S = 60.0
BACKOFF_S, MAX_BACKOFF_S = 0.3, 30.0
USER_AGENT = "comfyward/0.1"

_RETRYABLE_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_BUSY_STATUS = frozenset({429, 503})
REDIRECTS = frozenset({301, 302, 303, 307, 308})

T = TypeVar("T")


class Retry(Exception):
    """A failure that may not recur: retried after `after_s` seconds, and raised as `error` by the last attempt."""

    def __init__(self, error: FetchFailed, after_s: float | None = None) -> None:
        super().__init__(error.message)
        self.error, self.after_s = error, after_s


class RemoteFile:
    """One file on another host, requested by any number of threads."""

    def __init__(
        self, source: Url, guard: Guard, timeout_s: float, stop: Stop, least_speed: LeastSpeed = ANY_SPEED
    ) -> None:
        """The timeout starts now. Raises FetchFailed for a URL that cannot be fetched."""
        try:
            self._address = parse_address(source.url)
        except ValueError as error:
            raise FetchFailed(f"The URL cannot be fetched: {error}.") from error
        self._headers = dict(source.headers)
        self._guard, self._timeout_s, self._stop = guard, timeout_s, stop
        self._deadline = time.monotonic() + timeout_s
        self._least_speed, self._pace = least_speed, Pace(least_speed)

    @property
    def url(self) -> str:
        return self._address.url

    @property
    def host(self) -> str:
        return urlsplit(self._address.url).hostname or ""

    @contextlib.contextmanager
    def interruptible(self, opened: socket.socket) -> Iterator[None]:
        """Shuts the socket when the caller stops the download."""
        with self._stop.shutting(opened):
            yield

    def check(self) -> None:
        """Raises Stopped, FetchFailed after the deadline, or HostSlow."""
        if self._stop.is_set():
            raise Stopped
        if time.monotonic() > self._deadline:
            raise FetchFailed(f"The download from '{self.host}' took longer than {self._timeout_s:g} s.")
        if (speed := self._pace.slow) is not None:
            least = self._least_speed
            raise HostSlow(
                f"'{self.host}' sent {_per_second(speed)} in {least.window_s:g} s, which is too slow: "
                f"a file must arrive with {_per_second(least.bytes_per_s)} at least.",
                host=self.host,
                bytes_per_s=round(speed, 1),
            )

    def left_s(self) -> float:
        """The seconds to wait for bytes before the next check."""
        return min(self._deadline - time.monotonic(), self._pace.window_left_s())

    def begin_read(self) -> None:
        """Counts the time from now on for the pace."""
        self._pace.begin_read()

    def end_read(self, received: int) -> None:
        """Counts the bytes of a read for the pace."""
        self._pace.end_read(received)

    def retrying(self, act: Callable[[], T]) -> T:
        """The result of `act`, called again after each Retry. Raises Retry after MAX_ATTEMPTS.

        Pauses requested by the host do not count as attempts, but grow with each one.
        """
        attempts = pauses = 0
        while True:
            try:
                return act()
            except Retry as retry:
                attempts, pauses = attempts + (retry.after_s is None), pauses + 1
                if attempts == MAX_ATTEMPTS:
                    raise
                self._pause(pauses, retry)

    def open(self, headers: Mapping[str, str], address: Address | None = None) -> Answer:
        """The answer to a GET after redirects, with the file (200), a range of it (206), or nothing new (304).

        `address` skips redirects that are already known. Raises Retry, FetchFailed, FetchRefused.
        """
        address, by = address or self._address, time.monotonic() + ANSWER_TIMEOUT_S
        for _ in range(MAX_REDIRECTS + 1):
            self.check()
            answer = self._request(address, headers, by)
            if answer.status not in REDIRECTS:
                return self._accepted(answer, by)
            answer.close()
            address = self._next(answer)
        raise FetchFailed(f"'{self.host}' redirects more than {MAX_REDIRECTS} times.")

    def heads(self, headers: Mapping[str, str]) -> Iterator[Answer]:
        """The answers of the file's own origin to HEADs, redirect by redirect, until it redirects to another.

        Raises Retry, FetchFailed, FetchRefused.
        """
        address, own = self._address, origin_of(self._address.url)
        for _ in range(MAX_REDIRECTS + 1):
            with self._request(address, headers, self._deadline, "HEAD") as answer:
                yield answer
                if answer.status not in REDIRECTS:
                    return
                address = self._next(answer)
            if origin_of(address.url) != own:
                return

    def beside(self, path: str, most: int) -> bytes:
        """The answer to a GET of a path of the same origin, without redirects. Raises Retry, FetchFailed, OSError."""
        address = redirected(self._address, path)
        with self._request(address, {}, self._deadline) as answer:
            if answer.status != 200:
                raise FetchFailed(f"'{self.host}' answered {answer.status}.", http_status=answer.status)
            with self.interruptible(answer.socket):
                return answer.read_within(most, self._deadline)

    def _next(self, answer: Answer) -> Address:
        """The address to which an answer redirects. Raises FetchFailed."""
        if not (location := answer.header("Location")):
            raise FetchFailed(f"'{self.host}' answered {answer.status} without a Location.")
        try:
            return redirected(answer.address, location)
        except ValueError as error:
            raise FetchFailed(f"'{self.host}' redirects to a URL that is not http or https.") from error

    def _accepted(self, answer: Answer, by: float) -> Answer:
        if answer.status in (206, 416) and not answer.is_part:
            answer.close()
            return self._open_whole(answer.address, by)
        if answer.status not in (200, 206, 304):
            raise self._refused(answer)
        return answer

    def _open_whole(self, address: Address, by: float) -> Answer:
        """The file without a range: some servers refuse any range of an empty file, or count encoded bytes."""
        answer = self._request(address, {}, by)
        if answer.status != 200:
            raise self._refused(answer)
        return answer

    def _refused(self, answer: Answer) -> Exception:
        """The error for an answer without a file, with the host's own message and the pause that it asks for."""
        with answer, self.interruptible(answer.socket):
            said = refusal.sentence_of(answer.read_refusal(), self._secrets())
        message = f"'{self.host}' answered {answer.status}{f': {said}' if said else ''}"
        message += "" if message.endswith((".", "!", "?", "…")) else "."
        if answer.status not in _BUSY_STATUS:
            error = FetchFailed(message, http_status=answer.status, **_error_code(answer))
            return Retry(error) if answer.status in _RETRYABLE_STATUS else error
        after_s = refusal.wait_of(answer.header("Retry-After"), datetime.datetime.now(datetime.UTC))
        if after_s is not None:
            message += f" It asks to retry in {after_s:.0f} s."
        return Retry(HostBusy(message, http_status=answer.status), after_s)

    def _secrets(self) -> list[str]:
        """The credentials of the request, which the host may repeat in its answer and nobody else may see."""
        values = (*self._headers.values(), self._address.authorization or "")
        parts = (part for value in values for part in (value, value.rpartition(" ")[2], password_of(value)))
        return [part for part in parts if len(part) > 3]

    def _caller_headers(self, address: Address) -> dict[str, str]:
        """The caller's headers for the host that they were given for; for any other, the URL's own login."""
        login = {"Authorization": address.authorization} if address.authorization else {}
        return _merged(login, self._headers) if origin_of(address.url) == origin_of(self._address.url) else login

    def _request(self, address: Address, headers: Mapping[str, str], by: float, method: str = "GET") -> Answer:
        """The answer of one host, whose headers are complete by the given moment. Raises Retry, FetchRefused."""
        parts = urlsplit(address.url)
        host, secure = parts.hostname or "", parts.scheme == "https"
        connection = http.client.HTTPConnection(host, parts.port or (443 if secure else 80))
        try:
            opened = self._connect(connection, secure, by)
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            base = {"Host": parts.netloc, "User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity"}
            with self.interruptible(opened):
                connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
                for name, value in _merged(base, self._caller_headers(address), headers).items():
                    connection.putheader(name, value)
                connection.endheaders()
                return self._answer(connection, address, by, method)
        except (FetchRefused, Stopped):
            connection.close()
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            connection.close()
            self.check()
            raise Retry(FetchFailed(f"Cannot fetch from '{host}': {error}.", host=host)) from error
        except EncodingError as error:
            connection.close()
            raise FetchFailed(f"'{host}' sent a body that cannot be decoded: {error}.") from error
        except FetchFailed as error:
            connection.close()
            raise Retry(error) from error

    def _connect(self, connection: http.client.HTTPConnection, secure: bool, by: float) -> socket.socket:
        opened = self._guard.connect(connection.host, connection.port, min(CONNECT_TIMEOUT_S, self._until(by)))
        connection.sock = opened
        opened.settimeout(self._until(by))  # of the whole handshake, and of sending
        if secure:
            wrapped = _tls().wrap_socket(opened, server_hostname=connection.host, do_handshake_on_connect=False)
            connection.sock = wrapped
            with self.interruptible(wrapped):
                wrapped.do_handshake()
        return connection.sock

    def _answer(self, connection: http.client.HTTPConnection, address: Address, by: float, method: str) -> Answer:
        response = http.client.HTTPResponse(connection.sock, method=method)
        wire = Wire(connection.sock, by, self)
        response.fp = io.BufferedReader(wire)
        response.begin()
        wire.begin_body()
        return Answer(connection, response, address, wire, self.check)

    def _until(self, by: float) -> float:
        """The seconds until a moment, or until the deadline if that is earlier. Raises TimeoutError after it."""
        self.check()
        left_s = min(by, self._deadline) - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("it did not answer in time")
        return left_s

    def _pause(self, pauses: int, retry: Retry) -> None:
        """Waits before the next attempt. Raises the error itself if the host asks for more time than there is."""
        backoff_s = min(MAX_BACKOFF_S, BACKOFF_S * 2 ** min(pauses - 1, 20))
        jittered_s = backoff_s * random.uniform(0.5, 1.0)  # noqa: S311  jitter is no secret
        pause_s = max(jittered_s, retry.after_s or 0.0)
        if retry.after_s is not None and time.monotonic() + pause_s > self._deadline:
            raise retry.error from retry
        if self._stop.wait(pause_s):
            raise Stopped
        self.check()


def _error_code(answer: Answer) -> dict[str, str]:
    """Hugging Face's own word for a refusal, such as GatedRepo."""
    code = answer.header("X-Error-Code") or ""
    return {"error_code": code} if code.isalnum() and code.isascii() and len(code) <= 40 else {}


def _merged(*headers: Mapping[str, str]) -> dict[str, str]:
    """All headers; later ones replace earlier ones of the same name, in any case."""
    found = {name.lower(): (name, value) for each in headers for name, value in each.items()}
    return dict(found.values())


@functools.cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _per_second(speed: float) -> str:
    return f"{speed / 1024:.0f} KiB/s" if speed >= 1024 else f"{speed:.0f} bytes/s"
