"""The bytes that a host sends, each read with a deadline: headers by a moment, a body at a pace."""

from __future__ import annotations

import io
import socket
import time
from typing import Protocol

READ_TIMEOUT_S = 20.0
_SHORTEST_WAIT_S = 0.001


class Watch(Protocol):
    """The limits of the whole download."""

    def check(self) -> None:
        """Raises the error with which the download ends, if it is over."""

    def left_s(self) -> float:
        """The seconds to wait for bytes before the next check."""

    def begin_read(self) -> None: ...

    def end_read(self, received: int) -> None: ...


class Wire(io.RawIOBase):
    """The receiving side of a socket. Until `begin_body`, everything must arrive by one moment."""

    def __init__(self, opened: socket.socket, by: float, watch: Watch) -> None:
        self.socket, self._by, self._watch = opened, by, watch
        self._in_body = False

    def begin_body(self) -> None:
        """From now on every read has READ_TIMEOUT_S, and counts for the pace."""
        self._in_body = True

    def end_by(self, moment: float) -> None:
        """Everything else must arrive by this moment."""
        self._by, self._in_body = moment, False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Raises TimeoutError, or the error with which the download ends."""
        if not self._in_body:
            return self._receive(buffer, self._by, "it did not answer in time")
        received = 0
        self._watch.begin_read()
        try:
            received = self._receive(buffer, time.monotonic() + READ_TIMEOUT_S, "nothing arrived in time")
        finally:
            self._watch.end_read(received)
        return received

    def _receive(self, buffer: bytearray | memoryview, by: float, late: str) -> int:
        while (left_s := by - time.monotonic()) > 0:
            self._watch.check()
            self.socket.settimeout(max(_SHORTEST_WAIT_S, min(left_s, self._watch.left_s())))
            try:
                received = self.socket.recv_into(buffer)
            except TimeoutError:
                continue
            if not received:
                self._watch.check()  # a socket that was shut to end the download looks like the end of the file
            return received
        raise TimeoutError(late)
