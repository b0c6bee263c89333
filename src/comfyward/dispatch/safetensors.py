"""The header of a safetensors file in the object store: JSON that a client uploaded, as untrusted as any request."""

from __future__ import annotations

from typing import Any

from comfyward.dispatch.heavy_requests import HEAVY
from comfyward.errors import NotFound
from comfyward.files.objects import Objects, blob_key
from comfyward.python_json import NOT_JSON, read_answer, refuse_many
from comfyward.store.files import StoredFile

LENGTH_BYTES = 8
HEADER_LIMIT_BYTES = 16 << 20


async def read_header(objects: Objects, owner: str, file: StoredFile) -> dict[str, Any]:
    """The header of an account's file. Raises NotFound for a file of another kind, or with too many values."""
    key = blob_key(file.digest)
    length = int.from_bytes(await _read(objects, key, 0, min(LENGTH_BYTES, file.size)), "little")
    if not 2 <= length <= min(HEADER_LIMIT_BYTES, file.size - LENGTH_BYTES):
        raise NotFound("The file is no safetensors file.")
    text = await _read(objects, key, LENGTH_BYTES, LENGTH_BYTES + length)
    header = await read_text(owner, text)
    return header if isinstance(header, dict) else {}


async def read_text(owner: str, text: bytes | str) -> Any:
    """The value of a JSON text in an account's file. Raises NotFound if it has none, or too many values."""

    def read() -> Any:
        refuse_many(text)
        return read_answer(text)

    try:
        return await HEAVY.run(owner, len(text), read)
    except NOT_JSON as error:
        raise NotFound("The file is no safetensors file.") from error


async def _read(objects: Objects, key: str, start: int, end: int) -> bytes:
    return b"".join([piece async for piece in await objects.read(key, start, end)])
