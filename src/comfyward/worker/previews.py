"""The pictures of work in progress that wait to be sent. Pure.

Nodes can make them without end: the newest of each node are kept, a few at a time, and sent at a bounded rate.
"""

from __future__ import annotations

from collections import OrderedDict

from comfyward.worker.protocol import PreviewFrame

MAX_WAITING_BYTES = 8 << 20  # a larger preview is not sent
BYTES_PER_S = 4 << 20
BURST_S = 1.0  # the time by which they may be ahead of that


class Previews:
    def __init__(self) -> None:
        self._waiting: OrderedDict[str | None, PreviewFrame] = OrderedDict()
        self._bytes = 0
        self._next_at = float("-inf")

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, frame: PreviewFrame) -> None:
        """Keeps a preview in place of its node's last one, and drops the oldest ones if all together are too large."""
        if len(frame.data) > MAX_WAITING_BYTES:
            return
        if old := self._waiting.pop(frame.node, None):
            self._bytes -= len(old.data)
        self._waiting[frame.node] = frame
        self._bytes += len(frame.data)
        while self._bytes > MAX_WAITING_BYTES:
            _, oldest = self._waiting.popitem(last=False)
            self._bytes -= len(oldest.data)

    def drop(self) -> None:
        """Forgets those that wait."""
        self._waiting.clear()
        self._bytes = 0

    def take(self, now: float) -> list[PreviewFrame]:
        """Those that wait; none while the last ones are more than BURST_S ahead of BYTES_PER_S."""
        if now < self._next_at - BURST_S:
            return []
        self._next_at = max(self._next_at, now) + self._bytes / BYTES_PER_S
        frames = list(self._waiting.values())
        self.drop()
        return frames
