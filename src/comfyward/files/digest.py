"""Digests of bytes: blake3 names a blob, sha256 is the one that other systems publish."""

from __future__ import annotations

import hashlib
from typing import Any

import blake3

CHUNK_BYTES = 1 << 20


class Hasher:
    """Both digests of a stream of bytes, as lower-case hex."""

    def __init__(self) -> None:
        self._blake3: Any = blake3.blake3()
        self._sha256 = hashlib.sha256()

    def update(self, data: bytes | bytearray | memoryview) -> None:
        self._blake3.update(data)
        self._sha256.update(data)

    @property
    def blake3(self) -> str:
        return str(self._blake3.hexdigest())

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()


def digests_of(data: bytes) -> tuple[str, str]:
    """(blake3, sha256) of some bytes."""
    hasher = Hasher()
    hasher.update(data)
    return hasher.blake3, hasher.sha256
