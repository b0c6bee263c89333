"""The host's blob cache: each file that runs bring, stored once and shared by all workers of the host.

    blobs/ab/<digest>      the bytes, read-only, named by their blake3
    index/<key>.json       the last answer of a URL: digest, validators, time
    parts/<key>            a download in progress or broken off, and its journal
    pins/<worker>/<lease>/ hard links to the blobs that a run needs: a linked blob is never evicted
    locks/<key>            one download of a URL at a time, across all processes of the host

Blobs and parts together stay within the limit, by the bytes that they have and not by those that were announced. Only
with pinned blobs may they be more: up to twice the limit, so that the files of one run can come while another executes.

A URL below /models is treated as immutable. One below /input is revalidated every time (an unchanged file costs one
round trip), so a changed picture is never served stale. The key covers the request headers: a file that one caller may
read with its token is not given to a caller without it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from comfyward.errors import FetchFailed, StorageFull
from comfyward.files import refusal
from comfyward.files.fetch import Fetch, Limits, Room
from comfyward.files.guard import Guard
from comfyward.files.pace import ANY_SPEED
from comfyward.files.part import Fetched, Progress, Validators
from comfyward.files.remote_file import RemoteFile
from comfyward.files.stop import Stop, Stopped
from comfyward.runs.files import Url, key_of
from comfyward.sandbox import removal

LOCK_POLL_S = 0.02
PART_LIFETIME_S = 24 * 3600.0  # in which a broken download may be continued
INDEX_LIFETIME_S = 90 * 24 * 3600.0
PINS_LIFETIME_S = 7 * 24 * 3600.0  # of a worker that has not started again
SNIFF_BYTES = 1024
MARKUP_SUFFIXES = (".html", ".htm", ".xml", ".svg", ".txt", ".md")


@dataclass(frozen=True)
class Entry:
    """The file that a URL led to when it was last fetched. `checked_at` is in seconds since the epoch."""

    digest: str
    sha256: str
    size: int
    etag: str | None
    last_modified: str | None
    checked_at: float

    @property
    def validators(self) -> Validators:
        return Validators(self.etag, self.last_modified)


@dataclass(frozen=True)
class _Kept:
    """A blob or a download on the disk. `size` is what it takes there; `used_at` is in seconds since the epoch."""

    path: Path
    size: int
    used_at: float
    is_pinned: bool

    @property
    def is_old(self) -> bool:
        return time.time() - self.used_at > PART_LIFETIME_S


@dataclass(frozen=True)
class WantedFile:
    """One file of a run. An immutable one that is cached is used without asking its host again."""

    path: str
    source: Url
    immutable: bool
    key: str | None = None  # a name for the content that is stable when its URL and headers change
    is_our_own: bool = False  # from our server or object store, however slow they are
    most: int | None = None  # the most bytes that may be fetched of it; None: as many as the cache holds


class HostCache:
    """The cache in one folder. Calls block: they are made from threads, in any number of processes of the host."""

    def __init__(self, root: Path, limit_bytes: int, guard: Guard, limits: Limits) -> None:
        self._root, self._limit_bytes, self._guard, self._limits = root, limit_bytes, guard, limits
        self.hits = self.misses = 0
        self._counting = threading.Lock()
        for folder in ("blobs", "index", "parts", "pins", "locks"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        self._forget_old()

    def obtain(
        self, wanted: WantedFile, pin: Path, progress: Progress, stop: Stop, guard: Guard | None = None
    ) -> Entry:
        """Fetches a file into the cache unless it is there and fresh, and links it to `pin`.

        `guard` replaces the cache's own for this file.
        Raises FetchFailed, FetchRefused, TooLarge, StorageFull or Stopped.
        """
        requested_at = time.time()
        key = wanted.key or key_of(wanted.source)
        guard = guard or self._guard
        with self._locked(key, stop):
            entry = self._entry(key)
            is_hit = entry is not None and self._is_fresh(entry, wanted, requested_at)
            self._count(is_hit)
            if entry is None or not is_hit:
                entry = self._fetch(key, wanted, entry, progress, stop, guard)
            self._verify(key, entry, wanted)
            if not self._link(entry.digest, pin):  # evicted since
                entry = self._fetch(key, wanted, None, progress, stop, guard)
                self._verify(key, entry, wanted)
                if not self._link(entry.digest, pin):
                    raise StorageFull("The cache is too small for the files of one run.")
            with contextlib.suppress(FileNotFoundError):
                os.utime(self._root / "index" / f"{key}.json")
            return entry

    def pin_folder(self, worker_id: str, lease: str) -> Path:
        """The folder for the links of one run; `unpin` removes it."""
        folder = self._root / "pins" / worker_id / lease
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def left_beside(self, name: str) -> int:
        """The bytes that are left of the limit by what is linked in the folders with this name, of all workers."""
        sizes = dict[int, int]()  # by inode: workers share what they link
        for path in self._root.glob(f"pins/*/{name}/*"):
            with contextlib.suppress(FileNotFoundError):  # another worker removes its own
                found = path.stat()
                sizes[found.st_ino] = found.st_size
        return max(0, self._limit_bytes - sum(sizes.values()))

    def unpin(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)

    def unpin_all(self, worker_id: str) -> None:
        """Removes the links that an earlier process of this worker left behind."""
        shutil.rmtree(self._root / "pins" / worker_id, ignore_errors=True)

    def _forget_old(self) -> None:
        """Removes what nobody will come back for: broken downloads, answers of URLs, links of workers that are gone."""
        now = time.time()
        for folder, lifetime_s in (("index", INDEX_LIFETIME_S), ("locks", INDEX_LIFETIME_S), ("pins", PINS_LIFETIME_S)):
            for path in (self._root / folder).iterdir():
                with contextlib.suppress(FileNotFoundError):
                    if now - path.stat().st_mtime > lifetime_s:
                        removal.remove_tree(path)
        for part in self._parts():
            if part.is_old:
                self._drop(part)

    def _count(self, is_hit: bool) -> None:
        with self._counting:
            self.hits += is_hit
            self.misses += not is_hit

    @property
    def limit_bytes(self) -> int:
        return self._limit_bytes

    def size_bytes(self) -> int:
        """The total size of the blobs and of downloads, finished or not."""
        return sum(kept.size for kept in (*self._blobs(), *self._parts()))

    def blob(self, digest: str) -> Path:
        """The file of a blob, which may be evicted unless it is pinned."""
        return self._blob(digest)

    def digests(self) -> set[str]:
        """The digests of all blobs."""
        return {path.name for path in self._root.glob("blobs/*/*")}

    def _is_fresh(self, entry: Entry, wanted: WantedFile, requested_at: float) -> bool:
        if not self._blob(entry.digest).exists():
            return False
        return wanted.immutable or entry.checked_at >= requested_at

    def _fetch(
        self,
        key: str,
        wanted: WantedFile,
        before: Entry | None,
        progress: Progress,
        stop: Stop,
        guard: Guard,
    ) -> Entry:
        known = before.validators if before and self._blob(before.digest).exists() else Validators()
        part = self._root / "parts" / key
        checked_at = time.time()
        least_speed = ANY_SPEED if wanted.is_our_own else self._limits.least_speed
        remote = RemoteFile(wanted.source, guard, self._limits.seconds, stop, least_speed)
        room = Room(self._make_room, self._limit_bytes if wanted.most is None else wanted.most)
        fetched = Fetch(remote, part, self._limits, progress=progress, room=room).run(known)
        if fetched is None:
            assert before is not None, "a server may answer 304 only to a conditional request"
            entry = Entry(**{**asdict(before), "checked_at": checked_at})
        else:
            _refuse_page(part, wanted, remote.host)
            entry = self._publish(part, fetched, checked_at)
        self._write_entry(key, entry)
        return entry

    def _publish(self, part: Path, fetched: Fetched, checked_at: float) -> Entry:
        blob = self._blob(fetched.blake3)
        blob.parent.mkdir(parents=True, exist_ok=True)
        part.chmod(0o444)
        with contextlib.suppress(FileExistsError):  # the same bytes came from another URL
            os.link(part, blob)
        part.unlink()
        _sync_folder(blob.parent)
        validators = fetched.validators
        return Entry(
            fetched.blake3, fetched.sha256, fetched.size, validators.etag, validators.last_modified, checked_at
        )

    def _verify(self, key: str, entry: Entry, wanted: WantedFile) -> None:
        digest = wanted.source.digest
        if digest is not None and digest not in (entry.digest, entry.sha256):
            (self._root / "index" / f"{key}.json").unlink(missing_ok=True)  # the next attempt fetches it again
            raise FetchFailed(
                f"The file for '{wanted.path}' does not have the expected digest.",
                hint="The URL serves a different file, or the digest is mistyped.",
                expected=digest,
                blake3=entry.digest,
                sha256=entry.sha256,
            )

    def _link(self, digest: str, pin: Path) -> bool:
        """Links a blob; False if it has been evicted."""
        blob = self._blob(digest)
        try:
            pin.unlink(missing_ok=True)
            os.link(blob, pin)
            os.utime(blob, ns=(time.time_ns(), blob.stat().st_mtime_ns))
        except FileNotFoundError:
            return False
        return True

    def _make_room(self, size: int) -> None:
        """Makes `size` more bytes fit into the limit: evicts broken downloads and the least recently used unpinned
        blobs. Raises StorageFull."""
        with self._locked("eviction", Stop()):
            blobs, parts = self._blobs(), self._parts()
            used, loading = sum(kept.size for kept in (*blobs, *parts)), sum(part.size for part in parts)
            for part in sorted(parts, key=lambda part: part.used_at):
                if (used + size > self._limit_bytes or part.is_old) and self._drop(part):
                    used, loading = used - part.size, loading - part.size
            for blob in sorted(blobs, key=lambda blob: blob.used_at):
                if used + size > self._limit_bytes and not blob.is_pinned:
                    blob.path.unlink(missing_ok=True)
                    used -= blob.size
            if loading + size > self._limit_bytes or used + size > 2 * self._limit_bytes:
                raise StorageFull(f"The cache of {self._limit_bytes} bytes has no room for {size} more.")

    def _blobs(self) -> list[_Kept]:
        return _kept_in(self._root.glob("blobs/*/*"))

    def _parts(self) -> list[_Kept]:
        return _kept_in(path for path in self._root.glob("parts/*") if "." not in path.name)

    def _drop(self, part: _Kept) -> bool:
        """Removes a broken download. False for one that goes on: it holds its lock."""
        lock = self._try_lock(part.path.name)
        if lock is None:
            return False
        with lock:
            for path in self._root.glob(f"parts/{part.path.name}*"):
                path.unlink(missing_ok=True)
        return True

    @contextlib.contextmanager
    def _locked(self, key: str, stop: Stop) -> Iterator[None]:
        while not (lock := self._try_lock(key)):
            if stop.wait(LOCK_POLL_S):
                raise Stopped from None
        with lock:
            yield

    def _try_lock(self, key: str) -> IO[str] | None:
        """The open lock file if nobody else has it locked. (An old one may have been removed in this moment.)"""
        path = self._root / "locks" / key
        lock = path.open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock.fileno()).st_ino == path.stat().st_ino:
                return lock
        except (BlockingIOError, FileNotFoundError):
            pass
        lock.close()
        return None

    def _entry(self, key: str) -> Entry | None:
        try:
            return Entry(**json.loads((self._root / "index" / f"{key}.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def _write_entry(self, key: str, entry: Entry) -> None:
        path = self._root / "index" / f"{key}.json"
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(entry)))
        fresh.rename(path)

    def _blob(self, digest: str) -> Path:
        return self._root / "blobs" / digest[:2] / digest


def _kept_in(paths: Iterable[Path]) -> list[_Kept]:
    found = []
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            # A part has gaps where nothing was received yet, a blob has none; small ones take no whole block.
            size = min(status.st_size, status.st_blocks * 512) if status.st_blocks else status.st_size
            found.append(_Kept(path, size, max(status.st_atime, status.st_mtime), status.st_nlink > 1))
    return found


def _refuse_page(part: Path, wanted: WantedFile, host: str) -> None:
    """Raises FetchFailed for a web page under a model's name: the commonest broken download."""
    with part.open("rb") as file:
        head = file.read(SNIFF_BYTES)
    name = wanted.path.lower()
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html")) and not name.endswith(MARKUP_SUFFIXES):
        part.unlink(missing_ok=True)
        raise refusal.web_page_instead(host, f"the file for '{wanted.path}'")
    if name.endswith((".safetensors", ".sft")) and not _is_safetensors(head, part.stat().st_size):
        part.unlink(missing_ok=True)
        raise FetchFailed(
            f"The file that '{host}' sent for '{wanted.path}' is not a safetensors file.",
            hint="Check that the URL is a direct download link of a .safetensors file.",
        )


def _is_safetensors(head: bytes, size: int) -> bool:
    header_size = int.from_bytes(head[:8], "little")
    return len(head) > 8 and 2 <= header_size <= size - 8 and head[8:9] == b"{"


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
