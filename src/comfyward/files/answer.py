"""The answer of a host to one GET: its headers, read for what they say about the whole file, and its decoded body."""

from __future__ import annotations

import contextlib
import http.client
import re
import time
from collections.abc import Callable

from comfyward.errors import FetchFailed
from comfyward.files import refusal
from comfyward.files.encoding import EncodingError, codings_of, decoded
from comfyward.files.part import Validators
from comfyward.files.wire import Wire
from comfyward.runs.address import Address

REFUSAL_TIMEOUT_S = 5.0

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class Answer:
    """An open response.

    `start` is the offset of its first byte in the file, and `total` the file's size in bytes, None if unknown.
    """

    def __init__(
        self,
        connection: http.client.HTTPConnection,
        response: http.client.HTTPResponse,
        address: Address,
        wire: Wire,
        check: Callable[[], None],
    ) -> None:
        """`check` is called while the body is decoded; an exception that it raises ends the reading.

        Raises EncodingError for an unknown Content-Encoding.
        """
        self._connection, self._response, self.address, self._wire = connection, response, address, wire
        self.socket = wire.socket
        self.status = response.status
        self.validators = Validators(response.getheader("ETag"), response.getheader("Last-Modified"))
        self._codings = codings_of(response.getheader("Content-Encoding"))
        self._decoded = decoded(self._codings, response.read1, check)
        self.start, self.total = self._extent()

    @property
    def is_part(self) -> bool:
        """True if it is a range of a file of known length, so that other ranges can complete it."""
        return self.status == 206 and self.total is not None

    def header(self, name: str) -> str | None:
        return self._response.getheader(name)

    def readinto(self, buffer: memoryview) -> int:
        """Fills the buffer with decoded bytes and returns their number, 0 at the end."""
        if not self._codings:
            return self._response.readinto(buffer)
        chunk = self._decoded(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def read_refusal(self) -> bytes:
        """The start of the body of an answer without a file, as far as it arrives within REFUSAL_TIMEOUT_S."""
        self._wire.end_by(time.monotonic() + REFUSAL_TIMEOUT_S)
        body = b""
        with contextlib.suppress(OSError, EOFError, ValueError, EncodingError, FetchFailed, http.client.HTTPException):
            while len(body) < refusal.READ_BYTES and (chunk := self._decoded(refusal.READ_BYTES - len(body))):
                body += chunk
        return body

    def read_within(self, most: int, by: float) -> bytes:
        """The whole body. Raises ValueError if it is longer than `most` bytes, TimeoutError if it comes too late."""
        self._wire.end_by(by)
        body = b""
        while chunk := self._decoded(most + 1 - len(body)):
            body += chunk
            if len(body) > most:
                raise ValueError("the answer is too long")
        return body

    def close(self) -> None:
        self._response.close()
        self._connection.close()

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _extent(self) -> tuple[int, int | None]:
        if self._codings:
            return 0, None  # lengths and ranges count the encoded bytes
        if self.status == 206:
            match = _CONTENT_RANGE.fullmatch(self.header("Content-Range") or "")
            return (int(match[1]), int(match[3])) if match else (0, None)
        length = self.header("Content-Length")
        return 0, int(length) if length is not None and length.isdigit() else None
