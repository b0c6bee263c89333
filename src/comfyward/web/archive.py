"""ZIP files, written as they are sent: neither on disk nor in memory as a whole."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import AsyncIterator
from typing import Any

Member = tuple[str, AsyncIterator[bytes]]


class _Outgoing(io.RawIOBase):
    """The bytes that the ZIP writer has written and that have not been sent yet."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        taken, self._pieces = b"".join(self._pieces), []
        return taken


async def zip_of(members: AsyncIterator[Member]) -> AsyncIterator[bytes]:
    """The chunks of a ZIP with these members, uncompressed: images and videos are compressed already."""
    outgoing = _Outgoing()
    with zipfile.ZipFile(outgoing, "w", zipfile.ZIP_STORED) as archive:
        async for name, pieces in members:
            about = zipfile.ZipInfo(name.replace("\\", "_"), time.gmtime()[:6])  # Windows reads a backslash as a folder
            with archive.open(about, "w", force_zip64=True) as member:
                async for piece in pieces:
                    member.write(piece)
                    yield outgoing.take()
    yield outgoing.take()


async def whole(data: bytes) -> AsyncIterator[bytes]:
    """Bytes as the only chunk of a member."""
    yield data
