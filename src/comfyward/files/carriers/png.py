"""Texts in the chunks of a PNG, also behind the picture. (Format: PNG, third edition, section 11.3.)"""

from __future__ import annotations

import struct
from typing import IO

from comfyward.files.carriers.exif import add_exif
from comfyward.files.carriers.texts import Texts

MAGIC = b"\x89PNG\r\n\x1a\n"
MOST_CHUNKS = 1_000_000
PLAIN = (b"tEXt", b"comf")  # ComfyUI's SaveAnimatedPNG writes a chunk of its own behind the picture
_READ = (*PLAIN, b"zTXt", b"iTXt", b"eXIf")
_CHECKSUM_BYTES = 4


def add_texts(source: IO[bytes], texts: Texts, most_bytes: int) -> None:
    """Takes the texts of a PNG, as far as it is whole. Raises ValueError, zlib.error."""
    source.seek(len(MAGIC))
    for _ in range(MOST_CHUNKS):
        head = source.read(8)
        if len(head) < 8:
            return
        length, kind = struct.unpack(">I4s", head)
        if kind not in _READ or length > most_bytes:
            source.seek(length + _CHECKSUM_BYTES, 1)
            continue
        data = source.read(length)
        if len(data) < length:
            return
        source.seek(_CHECKSUM_BYTES, 1)
        _add(kind, data, texts)
    raise ValueError("too many chunks")


def _add(kind: bytes, data: bytes, texts: Texts) -> None:
    name, _, rest = data.partition(b"\0")
    keyword = name.decode("latin-1")
    if kind in PLAIN:
        texts.add(keyword, rest)
    elif kind == b"zTXt":
        texts.add_packed(keyword, rest[1:])
    elif kind == b"eXIf":
        add_exif(data, texts)
    else:
        _language, _, translated = rest[2:].partition(b"\0")
        text = translated.partition(b"\0")[2]
        (texts.add_packed if rest[:1] == b"\1" else texts.add)(keyword, text)
