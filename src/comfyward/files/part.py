"""A file while it is downloaded: written at any offset by many threads, hashed in order by one.

A journal beside it lists the finished parts, so that a later attempt continues from there.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from comfyward.errors import StorageFull
from comfyward.files.digest import CHUNK_BYTES, Hasher

PART_BYTES = 16 << 20


@dataclass(frozen=True)
class Validators:
    """The headers with which a server is asked whether a file has changed."""

    etag: str | None = None
    last_modified: str | None = None

    def __bool__(self) -> bool:
        return bool(self.etag or self.last_modified)

    @property
    def strong(self) -> str | None:
        """The value for If-Range, which accepts no weak ETag."""
        if self.etag and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified

    def contradict(self, others: Validators) -> bool:
        """True if answers with these and with `others` are of different versions. Either may leave some of them out."""
        pairs = (self.etag, others.etag), (self.last_modified, others.last_modified)
        return any(one is not None and other is not None and one != other for one, other in pairs)


@dataclass(frozen=True)
class Fetched:
    """A finished download, at the path that it was written to."""

    size: int
    blake3: str
    sha256: str
    validators: Validators


Progress = Callable[[int, int | None], None]


@dataclass
class Journal:
    """The finished parts of one version of a file. `total` is its size in bytes, None if unknown."""

    total: int | None
    validators: Validators
    parts: set[int]

    @staticmethod
    def path(target: Path) -> Path:
        return target.with_name(target.name + ".json")

    @classmethod
    def load(cls, target: Path) -> Journal | None:
        try:
            data = json.loads(cls.path(target).read_text())
            return cls(data["total"], Validators(data["etag"], data["last_modified"]), set(data["parts"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def continues(self, total: int | None, validators: Validators) -> bool:
        """True if the finished parts belong to the version of the file with this size and these validators."""
        return validators.strong is not None and (self.total, self.validators) == (total, validators)

    def save(self, target: Path) -> None:
        data = {
            "total": self.total,
            "etag": self.validators.etag,
            "last_modified": self.validators.last_modified,
            "parts": sorted(self.parts),
        }
        path = self.path(target)
        fresh = path.with_name(path.name + ".new")
        fresh.write_text(json.dumps(data))
        fresh.rename(path)


class PartFile:
    """The open `.part` file."""

    def __init__(self, path: Path, descriptor: int, journal: Journal, progress: Progress) -> None:
        self._path, self._descriptor, self._journal, self._progress = path, descriptor, journal, progress
        self._ready = threading.Condition()
        self._size = journal.total
        self._streamed = 0
        self._written = sum(end - start for start, end in map(self.bounds, journal.parts))
        self._closed = False
        self._hasher = Hasher()
        self._thread = threading.Thread(target=self._hash, name="fetch-hash")
        self._thread.start()

    @classmethod
    @contextlib.contextmanager
    def opened(cls, path: Path, journal: Journal, progress: Progress) -> Iterator[PartFile]:
        """The file, and its journal written; closed after the block. Raises OSError, also if the disk is too small."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _check_free(descriptor, journal.total or 0)
            journal.save(path)
            file = cls(path, descriptor, journal, progress)
            try:
                yield file
            finally:
                file.end_hashing()
        finally:
            os.close(descriptor)

    def bounds(self, part: int) -> tuple[int, int]:
        """[start, end) of a part in bytes."""
        start = part * PART_BYTES
        return start, min(start + PART_BYTES, self._journal.total or 0)

    def missing_parts(self) -> list[int]:
        count = -(-(self._journal.total or 0) // PART_BYTES)
        return [part for part in range(count) if part not in self._journal.parts]

    def write(self, data: memoryview, offset: int) -> None:
        while data:
            count = os.pwrite(self._descriptor, data, offset)
            data, offset = data[count:], offset + count
            with self._ready:
                self._written += count
        self._progress(min(self._written, self._size or self._written), self._size)

    def streamed_to(self, offset: int) -> None:
        with self._ready:
            self._streamed = offset
            self._ready.notify()

    def part_done(self, part: int) -> None:
        with self._ready:
            self._journal.parts.add(part)
            self._journal.save(self._path)
            self._ready.notify()

    def stream_done(self, size: int) -> None:
        self._size = size

    def finish(self) -> Fetched:
        """Makes the bytes durable while the last of them are hashed, and removes the journal."""
        size = self._size or 0
        os.ftruncate(self._descriptor, size)
        os.fsync(self._descriptor)
        self.end_hashing()
        Journal.path(self._path).unlink(missing_ok=True)
        return Fetched(size, self._hasher.blake3, self._hasher.sha256, self._journal.validators)

    def end_hashing(self) -> None:
        """Waits until every byte before the first gap is hashed. May be called twice."""
        with self._ready:
            self._closed = True
            self._ready.notify()
        self._thread.join()

    def _hash(self) -> None:
        hashed, buffer = 0, memoryview(bytearray(CHUNK_BYTES))
        while (prefix := self._wait_beyond(hashed)) > hashed:
            while hashed < prefix:
                count = os.preadv(self._descriptor, [buffer[: prefix - hashed]], hashed)
                self._hasher.update(buffer[:count])
                hashed += count

    def _wait_beyond(self, hashed: int) -> int:
        """The length of the prefix, once it is longer than `hashed` or nothing more is written."""
        with self._ready:
            self._ready.wait_for(lambda: self._closed or self._prefix() > hashed)
            return self._prefix()

    def _prefix(self) -> int:
        """The number of bytes before the first gap."""
        if self._streamed:
            return self._streamed
        part = 0
        while part in self._journal.parts:
            part += 1
        return self.bounds(part - 1)[1] if part else 0


def _check_free(descriptor: int, total: int) -> None:
    """Raises OSError if a file of `total` bytes cannot fit on its disk. Takes no space: `total` was only announced."""
    disk, has = os.fstatvfs(descriptor), os.fstat(descriptor).st_blocks * 512
    if total - has > disk.f_bavail * disk.f_frsize:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def discard_unfinished(path: Path) -> None:
    """Removes a file that has a journal without parts: no later attempt can continue it."""
    journal = Journal.load(path)
    if journal is not None and not journal.parts:
        path.unlink(missing_ok=True)
        Journal.path(path).unlink(missing_ok=True)


def disk_error(error: OSError) -> Exception:
    """StorageFull for a full disk or quota, any other error as it is."""
    return full_disk(error) if is_full(error) else error


def full_disk(error: OSError, hint: str | None = None) -> StorageFull:
    """The error for a full disk or quota."""
    return StorageFull(f"No space left to store the file: {error.strerror}.", hint=hint)


def is_full(error: OSError) -> bool:
    """True for a full disk or quota."""
    return error.errno in (28, 122)  # ENOSPC, EDQUOT
