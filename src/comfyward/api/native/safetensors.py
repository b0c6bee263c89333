"""The header of a safetensors file in the object store."""

from __future__ import annotations

import json
from typing import Any

from comfyward.errors import NotFound
from comfyward.files.objects import Objects, blob_key
from comfyward.store.files import StoredFile

LENGTH_BYTES = 8
HEADER_LIMIT_BYTES = 64 << 20


async def read_header(objects: Objects, file: StoredFile) -> dict[str, Any]:
    """Raises NotFound for a file of another kind."""
    key = blob_key(file.digest)
    length = int.from_bytes(await _read(objects, key, 0, min(LENGTH_BYTES, file.size)), "little")
    if not 2 <= length <= min(HEADER_LIMIT_BYTES, file.size - LENGTH_BYTES):
        raise NotFound("The file is no safetensors file.")
    try:
        header = json.loads(await _read(objects, key, LENGTH_BYTES, LENGTH_BYTES + length))
    except ValueError as error:
        raise NotFound("The file is no safetensors file.") from error
    return header if isinstance(header, dict) else {}


async def _read(objects: Objects, key: str, start: int, end: int) -> bytes:
    return b"".join([piece async for piece in await objects.read(key, start, end)])
