"""Content-Encoding, undone while an answer is read: never more at once than was asked for, so no bomb goes off."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import brotli

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

READ_BYTES = 64 << 10
MAX_CODINGS = 4
# What senders write who encode nothing, or tell of what was undone on the way (aws-chunked) or of letters (utf-8).
_NONE = frozenset({"", "identity", "none", "binary", "aws-chunked", "utf-8", "utf8"})

Read = Callable[[int], bytes]


class EncodingError(Exception):
    """Bytes that are not encoded as they are said to be."""


def codings_of(header: str | None) -> tuple[str, ...]:
    """The codings of a Content-Encoding, in the order in which they were applied; empty for plain bytes.

    Raises EncodingError for one that is not known.
    """
    names = [name.strip().lower() for name in (header or "").split(",")]
    codings = tuple(name for name in names if name not in _NONE)
    if unknown := [name for name in codings if name not in _DECODERS]:
        raise EncodingError(f"'{unknown[0][:40]}' is not a known encoding")
    if len(codings) > MAX_CODINGS:
        raise EncodingError(f"it is encoded more than {MAX_CODINGS} times")
    return codings


def decoded(codings: Sequence[str], read: Read, check: Callable[[], None]) -> Read:
    """Reads the bytes behind an encoding. Calls raise EncodingError, and EOFError where they end too early.

    `check` is called again and again, also while much is read that holds nothing; what it raises ends the reading.
    """
    for coding in reversed(codings):
        read = _Decoded(coding, read, check).read
    return read


class _Decoder(Protocol):
    """One stream, or one member of a stream of several."""

    def decode(self, data: bytes, size: int) -> bytes:
        """About `size` bytes of what is there, with new input when it is hungry."""

    @property
    def is_hungry(self) -> bool: ...

    @property
    def is_over(self) -> bool: ...

    @property
    def rest(self) -> bytes:
        """What came after its end."""


class _Decoded:
    def __init__(self, coding: str, source: Read, check: Callable[[], None]) -> None:
        self._coding, self._source, self._check = coding, source, check
        self._decoder: _Decoder | None = None
        self._over = b""

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at the end."""
        found = self._over or self._decode(size)
        self._over = found[size:]
        return found[:size]

    def _decode(self, size: int) -> bytes:
        """About `size` bytes: not every decoder stops exactly there. Raises EOFError when they end inside a stream."""
        while True:
            self._check()
            if self._decoder is None or self._decoder.is_over:
                if not (data := self._next_member()):
                    return b""
                self._decoder = _DECODERS[self._coding](data)
            else:
                data = self._source(READ_BYTES) if self._decoder.is_hungry else b""
            was_hungry = self._decoder.is_hungry
            try:
                found = self._decoder.decode(data, size)
            except (zlib.error, brotli.error, zstd.ZstdError) as error:
                raise EncodingError(f"the bytes are not {self._coding}") from error
            if found:
                return found
            if was_hungry and not data:
                raise EOFError

    def _next_member(self) -> bytes:
        """The beginning of the stream, or of what comes after its first part; nothing at its end."""
        if self._decoder is None:
            return self._at_least(2)  # two bytes tell kinds apart
        mark = _MEMBERS.get(self._coding)
        data = self._at_least(len(mark), self._decoder.rest) if mark else b""
        if not mark or not data.startswith(mark):
            self._source = lambda _: b""  # what follows is filling
            return b""
        return data

    def _at_least(self, count: int, data: bytes = b"") -> bytes:
        """What is there, with as much more as is needed; less than that at the end."""
        while len(data) < count and (more := self._source(READ_BYTES)):
            data += more
        return data


class _Zlib:
    def __init__(self, window: int) -> None:
        self._stream: Any = zlib.decompressobj(window)
        self._is_hungry = True

    def decode(self, data: bytes, size: int) -> bytes:
        found: bytes = self._stream.decompress(self._stream.unconsumed_tail + data, size)
        self._is_hungry = len(found) < size and not self._stream.unconsumed_tail
        return found

    @property
    def is_hungry(self) -> bool:
        return self._is_hungry

    @property
    def is_over(self) -> bool:
        return bool(self._stream.eof)

    @property
    def rest(self) -> bytes:
        return bytes(self._stream.unused_data)


class _Brotli:
    rest = b""

    def __init__(self) -> None:
        self._stream = brotli.Decompressor()

    def decode(self, data: bytes, size: int) -> bytes:
        return bytes(self._stream.process(data, output_buffer_limit=size))

    @property
    def is_hungry(self) -> bool:
        return bool(self._stream.can_accept_more_data())

    @property
    def is_over(self) -> bool:
        return bool(self._stream.is_finished())


class _Zstd:
    def __init__(self) -> None:
        self._stream = zstd.ZstdDecompressor()

    def decode(self, data: bytes, size: int) -> bytes:
        return self._stream.decompress(data, size)

    @property
    def is_hungry(self) -> bool:
        return self._stream.needs_input

    @property
    def is_over(self) -> bool:
        return self._stream.eof

    @property
    def rest(self) -> bytes:
        return self._stream.unused_data


def _gzip(head: bytes) -> _Decoder:
    return _Zlib(31)


def _deflate(head: bytes) -> _Decoder:
    """With zlib's header, as it should be, or without, as some send it."""
    has_header = len(head) > 1 and head[0] & 0x0F == 8 and int.from_bytes(head[:2]) % 31 == 0
    return _Zlib(15 if has_header else -15)


_DECODERS: dict[str, Callable[[bytes], _Decoder]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": lambda head: _Brotli(),
    "zstd": lambda head: _Zstd(),
}
# How a further member of a stream begins, where one may follow.
_MEMBERS = {"gzip": b"\x1f\x8b", "x-gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}
