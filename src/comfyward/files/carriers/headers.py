"""Texts in the JSON headers of safetensors files (also of latents) and of GLB files.

(Formats: huggingface/safetensors, README; glTF 2.0, section 4.)
"""

from __future__ import annotations

import json
import struct
from typing import IO, Any

from comfyward.files.carriers.texts import Texts
from comfyward.python_json import read_answer, refuse_many

GLB = b"glTF"
_JSON_CHUNK = b"JSON"


def is_safetensors(head: bytes) -> bool:
    """True for a length below 4 GiB and the beginning of an object. JSON alone has no zeros there."""
    return head[4:9] == b"\0\0\0\0{"


def add_safetensors(source: IO[bytes], texts: Texts, most_bytes: int) -> None:
    """Takes the texts in a header's `__metadata__`. Raises ValueError."""
    source.seek(0)
    (length,) = struct.unpack("<Q", source.read(8))
    header = _object(source, length, most_bytes)
    _add_all(header.get("__metadata__"), texts)


def add_glb(source: IO[bytes], texts: Texts, most_bytes: int) -> None:
    """Takes the texts, or objects, in `asset.extras` of the first chunk. Raises ValueError."""
    source.seek(12)
    length, kind = struct.unpack("<I4s", source.read(8).ljust(8, b"\0"))
    if kind != _JSON_CHUNK:
        raise ValueError("a GLB begins with its JSON")
    asset = _object(source, length, most_bytes).get("asset")
    _add_all(asset.get("extras") if isinstance(asset, dict) else None, texts)


def _object(source: IO[bytes], length: int, most_bytes: int) -> dict[str, Any]:
    if length > most_bytes:
        raise ValueError("the header is too long")
    data = source.read(length)
    if len(data) < length:
        raise ValueError("the header is cut off")
    refuse_many(data)
    found = read_answer(data)
    if not isinstance(found, dict):
        raise ValueError("the header is no object")
    return found


def _add_all(values: object, texts: Texts) -> None:
    for name, value in values.items() if isinstance(values, dict) else ():
        if isinstance(value, str | dict):
            texts.add(name, value if isinstance(value, str) else json.dumps(value))
