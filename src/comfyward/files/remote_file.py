"""A file on another host: guarded requests that follow redirects, are retried, and end at a deadline.

A host that asks for a pause (429 or 503 with Retry-After) gets it as long as the deadline allows.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import http.client
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar
from urllib.parse import urlsplit

from comfyward.errors import FetchFailed, FetchRefused, HostBusy
from comfyward.files import refusal
from comfyward.files.answer import Answer
from comfyward.files.encoding import EncodingError
from comfyward.files.guard import Guard
from comfyward.files.stop import Stop, Stopped
from comfyward.runs.address import Address, origin_of, parse_address, password_of, redirected
from comfyward.runs.files import Url

MAX_REDIRECTS = 10
MAX_ATTEMPTS = 4
CONNECT_TIMEOUT_S = 20.0
READ_TIMEOUT_S = 60.0
BACKOFF_S, MAX_BACKOFF_S = 0.3, 30.0
USER_AGENT = "comfyward/0.1"

_RETRYABLE_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_BUSY_STATUS = frozenset({429, 503})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})

T = TypeVar("T")


class Retry(Exception):
    """A failure that may not recur: retried after `after_s` seconds, and raised as `error` by the last attempt."""

    def __init__(self, error: FetchFailed, after_s: float | None = None) -> None:
        super().__init__(error.message)
        self.error, self.after_s = error, after_s


class RemoteFile:
    """One file on another host, requested by any number of threads."""

    def __init__(self, source: Url, guard: Guard, timeout_s: float, stop: Stop) -> None:
        """The timeout starts now. Raises FetchFailed for a URL that cannot be fetched."""
        try:
            self._address = parse_address(source.url)
        except ValueError as error:
            raise FetchFailed(f"The URL cannot be fetched: {error}.") from error
        self._headers = dict(source.headers)
        self._guard, self._timeout_s, self._stop = guard, timeout_s, stop
        self._deadline = time.monotonic() + timeout_s
        self._timed_out = Stop()

    @property
    def host(self) -> str:
        return urlsplit(self._address.url).hostname or ""

    @contextlib.contextmanager
    def until_deadline(self) -> Iterator[None]:
        """Interrupts the reads in the block at the deadline."""
        alarm = threading.Timer(self._deadline - time.monotonic(), self._timed_out.set)
        alarm.daemon = True
        alarm.start()
        try:
            yield
        finally:
            alarm.cancel()

    @contextlib.contextmanager
    def interruptible(self, opened: socket.socket) -> Iterator[None]:
        """Shuts the socket when the caller stops the download or the deadline passes."""
        with self._stop.shutting(opened), self._timed_out.shutting(opened):
            yield

    def check(self) -> None:
        """Raises Stopped, or FetchFailed after the deadline."""
        if self._stop.is_set():
            raise Stopped
        if time.monotonic() > self._deadline:
            raise FetchFailed(f"The download from '{self.host}' took longer than {self._timeout_s:g} s.")

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
        address = address or self._address
        for _ in range(MAX_REDIRECTS + 1):
            self.check()
            answer = self._request(address, headers)
            if answer.status not in _REDIRECTS:
                return self._accepted(answer)
            answer.close()
            if not (location := answer.header("Location")):
                raise FetchFailed(f"'{self.host}' answered {answer.status} without a Location.")
            try:
                address = redirected(address.url, location)
            except ValueError as error:
                message = f"'{self.host}' redirects to a URL that is not http or https."
                raise FetchFailed(message) from error
        raise FetchFailed(f"'{self.host}' redirects more than {MAX_REDIRECTS} times.")

    def _accepted(self, answer: Answer) -> Answer:
        if answer.status in (206, 416) and not answer.is_part:
            answer.close()
            return self._open_whole(answer.address)
        if answer.status not in (200, 206, 304):
            raise self._refused(answer)
        return answer

    def _open_whole(self, address: Address) -> Answer:
        """The file without a range: some servers refuse any range of an empty file, or count encoded bytes."""
        answer = self._request(address, {})
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
            error = FetchFailed(message, http_status=answer.status)
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

    def _request(self, address: Address, headers: Mapping[str, str]) -> Answer:
        parts = urlsplit(address.url)
        host, secure = parts.hostname or "", parts.scheme == "https"
        connection = http.client.HTTPConnection(host, parts.port or (443 if secure else 80), timeout=READ_TIMEOUT_S)
        try:
            opened = self._connect(connection, secure)
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            base = {"Host": parts.netloc, "User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity"}
            connection.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
            for name, value in _merged(base, self._caller_headers(address), headers).items():
                connection.putheader(name, value)
            connection.endheaders()
            with self.interruptible(opened):
                response = connection.getresponse()
            return Answer(connection, response, address, opened, self.check)
        except (OSError, http.client.HTTPException, UnicodeError, ValueError) as error:
            connection.close()
            self.check()
            raise Retry(FetchFailed(f"Cannot fetch from '{host}': {error}.", host=host)) from error
        except EncodingError as error:
            connection.close()
            raise FetchFailed(f"'{host}' sent a body that cannot be decoded: {error}.") from error
        except FetchRefused:
            raise
        except FetchFailed as error:
            raise Retry(error) from error

    def _connect(self, connection: http.client.HTTPConnection, secure: bool) -> socket.socket:
        opened = self._guard.connect(connection.host, connection.port, CONNECT_TIMEOUT_S)
        opened.settimeout(READ_TIMEOUT_S)
        connection.sock = _tls().wrap_socket(opened, server_hostname=connection.host) if secure else opened
        return connection.sock

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


def _merged(*headers: Mapping[str, str]) -> dict[str, str]:
    """All headers; later ones replace earlier ones of the same name, in any case."""
    found = {name.lower(): (name, value) for each in headers for name, value in each.items()}
    return dict(found.values())


@functools.cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
