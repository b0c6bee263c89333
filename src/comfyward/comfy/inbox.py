"""The messages of one ComfyUI that wait to be handled.

Nodes can make ComfyUI send without end. While a run reads the messages, no more than MAX_BYTES of them wait, and
ComfyUI waits with the rest; while none does, they are discarded.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator

from comfyward.comfy.messages import Message

MAX_BYTES = 512 << 20
MAX_MESSAGES = 10_000


class Inbox:
    def __init__(self) -> None:
        self._waiting: deque[tuple[Message, int]] = deque()
        self._bytes = 0
        self._is_read = self._is_broken = False
        self._mail, self._room = asyncio.Event(), asyncio.Event()

    async def put(self, message: Message, size: int) -> None:
        """Keeps a message that arrived in a frame of `size` bytes, once there is room."""
        while (
            self._is_read and self._waiting and (self._bytes + size > MAX_BYTES or len(self._waiting) >= MAX_MESSAGES)
        ):
            self._room.clear()
            await self._room.wait()
        if self._is_read:
            self._waiting.append((message, size))
            self._bytes += size
            self._mail.set()

    def break_off(self) -> None:
        """No more messages will come."""
        self._is_broken = True
        self._mail.set()

    async def get(self) -> Message | None:
        """The next message; None once the last one was read and no more will come."""
        while not self._waiting:
            if self._is_broken:
                return None
            self._mail.clear()
            await self._mail.wait()
        message, size = self._waiting.popleft()
        self._bytes -= size
        self._room.set()
        return message

    @contextlib.contextmanager
    def read(self) -> Iterator[None]:
        """Messages that arrive in the block are kept; earlier ones are of earlier runs."""
        self._is_read = True
        try:
            yield
        finally:
            self._is_read, self._bytes = False, 0
            self._waiting.clear()
            self._room.set()
