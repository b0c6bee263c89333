"""Texts in EXIF, as ComfyUI ("workflow:{…}" in any tag of the picture), its packs and other programs write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PIL import Image

from comfyward.files.carriers.texts import WANTED, Texts, decoded

EXIF_IFD, IMAGE_DESCRIPTION, USER_COMMENT = 0x8769, 0x010E, 0x9286
_CHARACTERS = {b"UNICODE\0": "utf-16", b"ASCII\0\0\0": "ascii", b"\0" * 8: "utf-8"}


def add_exif(data: bytes, texts: Texts) -> None:
    """Takes the texts of an EXIF block. Raises what Pillow raises for a broken one."""
    exif = Image.Exif()
    exif.load(data)
    add_tags(exif, texts)


def add_tags(exif: Image.Exif, texts: Texts) -> None:
    """Takes the texts of EXIF that was read."""
    for tag, value in exif.items():
        if isinstance(value, str):
            _add_tag(tag, _as_utf8(value), texts)
    details: Mapping[int, Any] = exif.get_ifd(EXIF_IFD)
    if comment := _user_comment(details.get(USER_COMMENT)):
        texts.add("comment", comment)


def _add_tag(tag: int, value: str, texts: Texts) -> None:
    name, colon, text = value.partition(":")
    if colon and name.strip().lower() in WANTED:
        texts.add(name.strip(), text)
    elif tag == IMAGE_DESCRIPTION:
        texts.add("comment", value)


def _as_utf8(value: str) -> str:
    """Pillow reads the texts of EXIF as Latin-1."""
    try:
        return decoded(value.encode("latin-1"))
    except UnicodeEncodeError:
        return value


def _user_comment(value: object) -> str:
    """The text behind the name of its characters. (Exif 3.0, 4.6.6.)"""
    if not isinstance(value, bytes):
        return value if isinstance(value, str) else ""
    characters = _CHARACTERS.get(value[:8])
    if characters is None:
        return decoded(value)
    if characters == "utf-16" and value[8:10] not in (b"\xff\xfe", b"\xfe\xff"):
        characters = "utf-16-be" if value[8:9] == b"\0" else "utf-16-le"  # writers differ: most texts begin in ASCII
    return value[8:].decode(characters, "replace")
