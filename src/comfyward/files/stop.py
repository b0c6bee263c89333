"""The signal that ends downloads before they are done."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


class Stopped(Exception):
    """The caller no longer wants the file."""


class Stop(threading.Event):
    """Ends downloads. Setting it shuts the sockets being read, so that no thread waits for a silent server."""

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
        """Shuts the socket if the event is set, before or during the block."""
        with self._lock:
            self._sockets.add(opened)
        if self.is_set():
            _shut(opened)
        try:
            yield
        finally:
            with self._lock:
                self._sockets.discard(opened)


def _shut(opened: socket.socket) -> None:
    with contextlib.suppress(OSError):
        opened.shutdown(socket.SHUT_RDWR)
