"""Finds the texts of a file that may hold a graph; the file's first bytes tell what it is, not its name.

Files are hostile: this runs in a decoder (`files/decoding.py`), and reads no more of a file than `MOST_BYTES` at once.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import IO

from PIL import Image

from comfyward.files.carriers import headers, media, png, svg, webp
from comfyward.files.carriers.exif import add_tags
from comfyward.files.carriers.texts import MOST_BYTES, Texts

HEAD_BYTES = 16
for _characters in (
    "utf-8-sig",
    "utf-16",
    "utf-16-be",
    "utf-16-le",
    "ascii",
    "latin-1",
):  # nothing can be loaded once a decoder is confined
    codecs.lookup(_characters)


def texts_of(source: IO[bytes], head: bytes, opened: Callable[[IO[bytes]], Image.Image]) -> dict[str, str]:
    """The texts by name, from `Texts.WANTED`. `opened` opens pictures whose form is not read here.

    What is whole before a fault counts. Raises what is raised by a fault before any text.
    """
    texts = Texts()
    try:
        _add(source, head, texts, opened)
    except Exception:  # of any of the libraries
        if not texts.found:
            raise
    return texts.found


def _add(source: IO[bytes], head: bytes, texts: Texts, opened: Callable[[IO[bytes]], Image.Image]) -> None:
    if head.startswith(png.MAGIC):
        png.add_texts(source, texts, MOST_BYTES)
    elif head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        webp.add_texts(source, texts, MOST_BYTES)
    elif head.startswith(headers.GLB):
        headers.add_glb(source, texts, MOST_BYTES)
    elif headers.is_safetensors(head):
        headers.add_safetensors(source, texts, MOST_BYTES)
    elif container := media.container_of(head) or media.sound_of(head):
        media.add_tags(source, container, texts)
    elif head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        svg.add_texts(source, texts, MOST_BYTES)
    else:
        _add_picture(opened(source), texts)


def _add_picture(picture: Image.Image, texts: Texts) -> None:
    """JPEG, AVIF, GIF, TIFF: EXIF and comments."""
    add_tags(picture.getexif(), texts)
    comment = picture.info.get("comment")
    if isinstance(comment, bytes | str):
        texts.add("comment", comment)
