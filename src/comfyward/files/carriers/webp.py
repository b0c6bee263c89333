"""The EXIF of a WEBP. (Format: RFC 9649, section 2.)"""

from __future__ import annotations

import struct
from typing import IO

from comfyward.files.carriers.exif import add_exif
from comfyward.files.carriers.texts import Texts

MOST_CHUNKS = 1_000_000  # each frame of a moving picture is one


def add_texts(source: IO[bytes], texts: Texts, most_bytes: int) -> None:
    """Takes the texts of a WEBP, as far as it is whole. Raises ValueError, and what Pillow raises for broken EXIF."""
    source.seek(12)
    for _ in range(MOST_CHUNKS):
        head = source.read(8)
        if len(head) < 8:
            return
        kind, length = struct.unpack("<4sI", head)
        if kind != b"EXIF" or length > most_bytes:
            source.seek(length + length % 2, 1)
            continue
        data = source.read(length + length % 2)
        if len(data) < length:
            return
        add_exif(data[:length], texts)
    raise ValueError("too many chunks")
