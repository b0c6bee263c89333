"""ZIP files, written as they are sent: neither on disk nor in memory as a whole."""

from __future__ import annotations

import io
import re
import time
import zipfile
from collections.abc import AsyncIterator
from typing import Any

# Windows reads a backslash as a folder, C: as a drive, and refuses the others.
_NOT_IN_NAMES = re.compile(r'[\x00-\x1f\x7f\\:*?"<>|]')

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
            about = zipfile.ZipInfo(member_name(name), time.gmtime()[:6])
            with archive.open(about, "w", force_zip64=True) as member:
                async for piece in pieces:
                    member.write(piece)
                    yield outgoing.take()
    yield outgoing.take()


def member_name(name: str) -> str:
    """A name that unpacks below the folder in which the ZIP is opened, on any system."""
    parts = [_NOT_IN_NAMES.sub("_", part) for part in name.split("/") if part not in ("", ".", "..")]
    return "/".join(parts) or "file"


async def whole(data: bytes) -> AsyncIterator[bytes]:
    """Bytes as the only chunk of a member."""
    yield data
