"""The speed of a download, and the least that is waited for: a host that trickles must not hold a place for hours."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class LeastSpeed:
    """The average that every window of a download must reach. 0 bytes allow any speed."""

    bytes_per_s: float
    window_s: float


ANY_SPEED = LeastSpeed(0, 30)


class Pace:
    """The bytes of one download over all of its connections, in windows of the time in which somebody reads.

    Time in which nobody waits for bytes does not count: pauses that a host asks for, new connections, a slow disk.
    """

    def __init__(self, least: LeastSpeed, clock: Callable[[], float] = time.monotonic) -> None:
        self._least, self._clock = least, clock
        self._lock = threading.Lock()
        self._readers = self._bytes = 0
        self._read_s, self._counted_at = 0.0, clock()
        self._slow: float | None = None

    def begin_read(self) -> None:
        """Counts the time from now on, until `end_read`."""
        with self._lock:
            self._count()
            self._readers += 1

    def end_read(self, received: int) -> None:
        """Counts the bytes of a read that is over."""
        with self._lock:
            self._bytes += received
            self._count()
            self._readers -= 1

    def window_left_s(self) -> float:
        """The seconds for which the present window lasts if somebody goes on reading."""
        with self._lock:
            self._count()
            return self._least.window_s - self._read_s

    @property
    def slow(self) -> float | None:
        """The bytes per second of the first window that did not reach the least speed, None if all have."""
        with self._lock:
            self._count()
            return self._slow

    def _count(self) -> None:
        """Counts the time that has passed, and ends the window when it is over."""
        now = self._clock()
        self._read_s += now - self._counted_at if self._readers else 0.0
        self._counted_at = now
        if self._read_s < self._least.window_s:
            return
        speed = self._bytes / self._read_s
        if speed < self._least.bytes_per_s and self._slow is None:
            self._slow = speed
        self._read_s, self._bytes = 0.0, 0
