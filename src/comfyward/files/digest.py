"""Digests of bytes: blake3 names a blob, sha256 is what the rest of the world checks."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import blake3

CHUNK_BYTES = 1 << 20


@dataclass
class Hasher:
    """Both digests of a stream of bytes."""

    _blake3: Any = field(default_factory=blake3.blake3)
    _sha256: Any = field(default_factory=hashlib.sha256)

    def update(self, data: bytes | bytearray | memoryview) -> None:
        self._blake3.update(data)
        self._sha256.update(data)

    @property
    def blake3(self) -> str:
        return str(self._blake3.hexdigest())

    @property
    def sha256(self) -> str:
        return str(self._sha256.hexdigest())


def digests_of(data: bytes) -> tuple[str, str]:
    """(blake3, sha256) of some bytes."""
    hasher = Hasher()
    hasher.update(data)
    return hasher.blake3, hasher.sha256
