"""Streaming decoders of Content-Encoding. They never decode more than was asked for, so no bomb goes off."""

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
# Values that some servers send although the bytes are plain; aws-chunked was decoded on the way, utf-8 is a charset.
_NONE = frozenset({"", "identity", "none", "binary", "aws-chunked", "utf-8", "utf8"})

Read = Callable[[int], bytes]


class EncodingError(Exception):
    """The bytes do not match their Content-Encoding."""


def codings_of(header: str | None) -> tuple[str, ...]:
    """The codings of a Content-Encoding header, in the order in which they were applied; empty for plain bytes.

    Raises EncodingError for an unknown coding.
    """
    names = [name.strip().lower() for name in (header or "").split(",")]
    codings = tuple(name for name in names if name not in _NONE)
    if unknown := [name for name in codings if name not in _DECODERS]:
        raise EncodingError(f"'{unknown[0][:40]}' is not a known encoding")
    if len(codings) > MAX_CODINGS:
        raise EncodingError(f"it is encoded more than {MAX_CODINGS} times")
    return codings


def decoded(codings: Sequence[str], read: Read, check: Callable[[], None]) -> Read:
    """A `read` for the decoded bytes. It raises EncodingError, and EOFError if the encoded bytes end too early.

    `check` is called before each piece of input, also while the input decodes to nothing; an exception that it raises
    ends the reading.
    """
    for coding in reversed(codings):
        read = _Decoded(coding, read, check).read
    return read


class _Decoder(Protocol):
    """A decoder of one stream, or of one member of a stream of several."""

    def decode(self, data: bytes, size: int) -> bytes:
        """About `size` decoded bytes; `data` is new input if it needs any."""

    @property
    def needs_input(self) -> bool: ...

    @property
    def is_finished(self) -> bool: ...

    @property
    def unused(self) -> bytes:
        """The input after the end of the stream."""


class _Decoded:
    def __init__(self, coding: str, source: Read, check: Callable[[], None]) -> None:
        self._coding, self._source, self._check = coding, source, check
        self._decoder: _Decoder | None = None
        self._surplus = b""

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at the end."""
        found = self._surplus or self._decode(size)
        self._surplus = found[size:]
        return found[:size]

    def _decode(self, size: int) -> bytes:
        """About `size` bytes: not every decoder stops exactly there. Raises EOFError if the input ends in a stream."""
        while True:
            self._check()
            if self._decoder is None or self._decoder.is_finished:
                if not (data := self._next_member()):
                    return b""
                self._decoder = _DECODERS[self._coding](data)
            else:
                data = self._source(READ_BYTES) if self._decoder.needs_input else b""
            needed_input = self._decoder.needs_input
            try:
                found = self._decoder.decode(data, size)
            except (zlib.error, brotli.error, zstd.ZstdError) as error:
                raise EncodingError(f"the bytes are not {self._coding}") from error
            if found:
                return found
            if needed_input and not data:
                raise EOFError

    def _next_member(self) -> bytes:
        """The first bytes of the next member of the stream, none after the last one."""
        if self._decoder is None:
            return self._at_least(2)  # two bytes distinguish the kinds of deflate
        magic = _MEMBER_MAGIC.get(self._coding)
        data = self._at_least(len(magic), self._decoder.unused) if magic else b""
        if not magic or not data.startswith(magic):
            self._source = lambda _: b""  # trailing bytes are padding
            return b""
        return data

    def _at_least(self, count: int, data: bytes = b"") -> bytes:
        """`data` and more input, `count` bytes at least; less at the end of the input."""
        while len(data) < count and (more := self._source(READ_BYTES)):
            data += more
        return data


class _Zlib:
    def __init__(self, window: int) -> None:
        self._stream: Any = zlib.decompressobj(window)
        self._needs_input = True

    def decode(self, data: bytes, size: int) -> bytes:
        found: bytes = self._stream.decompress(self._stream.unconsumed_tail + data, size)
        self._needs_input = len(found) < size and not self._stream.unconsumed_tail
        return found

    @property
    def needs_input(self) -> bool:
        return self._needs_input

    @property
    def is_finished(self) -> bool:
        return bool(self._stream.eof)

    @property
    def unused(self) -> bytes:
        return bytes(self._stream.unused_data)


class _Brotli:
    unused = b""

    def __init__(self) -> None:
        self._stream = brotli.Decompressor()

    def decode(self, data: bytes, size: int) -> bytes:
        return bytes(self._stream.process(data, output_buffer_limit=size))

    @property
    def needs_input(self) -> bool:
        return bool(self._stream.can_accept_more_data())

    @property
    def is_finished(self) -> bool:
        return bool(self._stream.is_finished())


class _Zstd:
    def __init__(self) -> None:
        self._stream = zstd.ZstdDecompressor()

    def decode(self, data: bytes, size: int) -> bytes:
        return self._stream.decompress(data, size)

    @property
    def needs_input(self) -> bool:
        return self._stream.needs_input

    @property
    def is_finished(self) -> bool:
        return self._stream.eof

    @property
    def unused(self) -> bytes:
        return self._stream.unused_data


def _gzip(head: bytes) -> _Decoder:
    return _Zlib(31)


def _deflate(head: bytes) -> _Decoder:
    """With zlib's header, as the standard asks, or without, as some servers send it."""
    has_header = len(head) > 1 and head[0] & 0x0F == 8 and int.from_bytes(head[:2]) % 31 == 0
    return _Zlib(15 if has_header else -15)


_DECODERS: dict[str, Callable[[bytes], _Decoder]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": lambda head: _Brotli(),
    "zstd": lambda head: _Zstd(),
}
# The first bytes of a further member, for codings whose streams may have several.
_MEMBER_MAGIC = {"gzip": b"\x1f\x8b", "x-gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}
