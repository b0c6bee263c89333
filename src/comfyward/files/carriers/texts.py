"""The texts of a file that may hold a graph, as its carrier names them, collected within bounds."""

from __future__ import annotations

import zlib

MOST_BYTES = 64 << 20  # of all texts; graphs have a limit of their own, which is lower
WANTED = ("workflow", "prompt", "parameters", "comment", "metadata")


class Texts:
    """The last text of each name that is wanted, in small letters."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}
        self._left = MOST_BYTES

    def add(self, name: str, value: bytes | str) -> None:
        """Takes a text if its name is wanted. Raises ValueError if there is more than anybody reads."""
        name = name.lower()
        if name not in WANTED:
            return
        self._left -= len(value)
        if self._left < 0:
            raise ValueError("too many texts")
        if text := (value if isinstance(value, str) else decoded(value)).strip("\0 \r\n\t"):
            self.found[name] = text

    def add_packed(self, name: str, value: bytes) -> None:
        """The same for a text that zlib packed. Raises ValueError, zlib.error."""
        if name.lower() in WANTED:
            unpacking = zlib.decompressobj()
            text = unpacking.decompress(value, self._left + 1)
            self.add(name, text)


def decoded(value: bytes) -> str:
    """A text in UTF-8, as most programs write it, or else in Latin-1, as PNG and EXIF have it."""
    try:
        return value.decode("utf-8-sig")
    except UnicodeDecodeError:
        return value.decode("latin-1")
