"""Pictures derived from files: thumbnails (of a video's first frame), other forms, masks; and texts that files carry.

Media are hostile input. Each is decoded by a process of its own (`files/decoding.py`), confined to the files that it is
given, with an empty environment and limits on memory and time. A few are decoded at a time, and one of each account.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

PICTURES = ("image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp", "image/tiff", "image/avif")
MAX_SOURCE_BYTES = 1 << 30
AT_A_TIME = 2
LONGEST_S = 40.0

_COMMAND = (sys.executable, "-I", "-m", "comfyward.files.decoding")


def has_thumbnail(content_type: str) -> bool:
    """True if files of this type have thumbnails."""
    return content_type in PICTURES or content_type.startswith("video/")


class Decoders:
    """Decodes files, AT_A_TIME of them, and one of each owner at a time. `owner` is the id of an account."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(AT_A_TIME)
        self._turns: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    async def thumbnail(self, owner: str, source: Path, target: Path) -> bool:
        """Writes a WebP thumbnail of a media file; False if the file cannot be read as one."""
        return await self._decode(owner, source, target, "thumbnail")

    async def convert(self, owner: str, source: Path, target: Path, *, form: str, quality: int, channel: str) -> bool:
        """Writes a picture as `form` ("webp", "jpeg" or "png"); False if the file is not a picture.

        `channel` selects all channels ("rgba"), all but the alpha ("rgb"), or the alpha alone ("a").
        """
        return await self._decode(owner, source, target, "convert", form, str(quality), channel)

    async def put_mask(self, owner: str, original: Path, mask: Path, target: Path) -> bool:
        """Writes the original as PNG with the alpha of the mask; False if one of them is not a picture."""
        with _opened(mask) as more:
            return await self._decode(owner, original, target, "mask", str(more), also=more)

    async def difference(self, owner: str, one: Path, other: Path, target: Path) -> bool:
        """Writes {"difference": the mean difference of two pictures, 0 to 1}; False if one of them is not a picture."""
        with _opened(other) as more:
            return await self._decode(owner, one, target, "difference", str(more), also=more)

    async def texts(self, owner: str, source: Path, target: Path) -> bool:
        """Writes the texts of a file that may hold graphs, by name, as JSON; False if the file cannot be read.

        The names are those of `carriers.texts.WANTED`. A file of any size is taken: little of it is read.
        """
        return await self._decode(owner, source, target, "texts")

    async def _decode(self, owner: str, source: Path, target: Path, *operation: str, also: int | None = None) -> bool:
        if source.stat().st_size > MAX_SOURCE_BYTES and "texts" not in operation:
            return False
        turn = self._turns.setdefault(owner, asyncio.Lock())
        async with turn, self._places:
            with _opened(source) as given, target.open("wb") as made:
                return await _run(operation, given, made.fileno(), () if also is None else (also,))


async def _run(operation: tuple[str, ...], source: int, target: int, more: tuple[int, ...]) -> bool:
    process = await asyncio.create_subprocess_exec(
        *_COMMAND,
        *operation,
        stdin=source,
        stdout=target,
        stderr=asyncio.subprocess.DEVNULL,
        env={},
        pass_fds=more,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(LONGEST_S):
            return await process.wait() == 0
    except TimeoutError:
        return False
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield opened
    finally:
        os.close(opened)
