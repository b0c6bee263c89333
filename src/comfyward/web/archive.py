"""Files as one ZIP, made while it is sent: nothing of it lies on disk or whole in memory."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import AsyncIterator
from typing import Any

Member = tuple[str, AsyncIterator[bytes]]


class _Outgoing(io.RawIOBase):
    """What the ZIP writer has written and nobody has taken yet."""

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
    """The pieces of a ZIP with these members, stored as they are: pictures and videos are packed already."""
    outgoing = _Outgoing()
    with zipfile.ZipFile(outgoing, "w", zipfile.ZIP_STORED) as archive:
        async for name, pieces in members:
            about = zipfile.ZipInfo(name.replace("\\", "_"), time.gmtime()[:6])  # which Windows takes for a folder
            with archive.open(about, "w", force_zip64=True) as member:
                async for piece in pieces:
                    member.write(piece)
                    yield outgoing.take()
    yield outgoing.take()


async def whole(data: bytes) -> AsyncIterator[bytes]:
    """Bytes that are here already, as the pieces of a member."""
    yield data
