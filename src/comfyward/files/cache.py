"""The host's blob cache: each file that runs bring, stored once and shared by all workers of the host.

    blobs/ab/<digest>      the bytes, read-only, named by their blake3
    index/<key>.json       the last answer of a URL: digest, validators, time
    parts/<key>            a download in progress, and its journal
    pins/<worker>/<lease>/ hard links to the blobs that a run needs: a linked blob is never evicted
    locks/<key>            one download of a URL at a time, across all processes of the host

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
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from comfyward.errors import FetchFailed, StorageFull
from comfyward.files.fetch import Fetch, Limits
from comfyward.files.guard import Guard
from comfyward.files.part import Fetched, Progress, Validators
from comfyward.files.remote_file import RemoteFile
from comfyward.files.stop import Stop, Stopped
from comfyward.runs.files import Url, key_of

LOCK_POLL_S = 0.02
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
class Wanted:
    """One file of a run. An immutable one that is cached is used without asking its host again."""

    path: str
    source: Url
    immutable: bool
    key: str | None = None  # a name for the content that is stable when its URL and headers change


class HostCache:
    """The cache in one folder. Calls block: they are made from threads, in any number of processes of the host."""

    def __init__(self, root: Path, limit_bytes: int, guard: Guard, limits: Limits) -> None:
        self._root, self._limit_bytes, self._guard, self._limits = root, limit_bytes, guard, limits
        self.hits = self.misses = 0
        self._counting = threading.Lock()
        for folder in ("blobs", "index", "parts", "pins", "locks"):
            (root / folder).mkdir(parents=True, exist_ok=True)

    def obtain(self, wanted: Wanted, pin: Path, progress: Progress, stop: Stop, guard: Guard | None = None) -> Entry:
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
            return entry

    def pin_folder(self, worker_id: str, lease: str) -> Path:
        """The folder for the links of one run; `unpin` removes it."""
        folder = self._root / "pins" / worker_id / lease
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def unpin(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)

    def unpin_all(self, worker_id: str) -> None:
        """Removes the links that an earlier process of this worker left behind."""
        shutil.rmtree(self._root / "pins" / worker_id, ignore_errors=True)

    def _count(self, is_hit: bool) -> None:
        with self._counting:
            self.hits += is_hit
            self.misses += not is_hit

    @property
    def limit_bytes(self) -> int:
        return self._limit_bytes

    def size_bytes(self) -> int:
        """The total size of the blobs."""
        sizes = (blob.stat().st_size for blob in self._root.glob("blobs/*/*") if blob.exists())
        return sum(sizes)

    def digests(self) -> set[str]:
        """The digests of all blobs."""
        return {path.name for path in self._root.glob("blobs/*/*")}

    def _is_fresh(self, entry: Entry, wanted: Wanted, requested_at: float) -> bool:
        if not self._blob(entry.digest).exists():
            return False
        return wanted.immutable or entry.checked_at >= requested_at

    def _fetch(
        self,
        key: str,
        wanted: Wanted,
        before: Entry | None,
        progress: Progress,
        stop: Stop,
        guard: Guard,
    ) -> Entry:
        known = before.validators if before and self._blob(before.digest).exists() else Validators()
        part = self._root / "parts" / key
        checked_at = time.time()
        remote = RemoteFile(wanted.source, guard, self._limits.seconds, stop)
        fetched = Fetch(remote, part, self._limits, progress=progress, make_room=self._make_room).run(known)
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

    def _verify(self, key: str, entry: Entry, wanted: Wanted) -> None:
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
        """Evicts the least recently used unpinned blobs until `size` more bytes fit into the limit."""
        with self._locked("eviction", Stop()):
            blobs = [(path, path.stat()) for path in self._root.glob("blobs/*/*")]
            used = sum(stat.st_size for _, stat in blobs)
            if size > self._limit_bytes:
                raise StorageFull(f"A file of {size} bytes does not fit into a cache of {self._limit_bytes} bytes.")
            for path, stat in sorted(blobs, key=lambda blob: blob[1].st_atime_ns):
                if used + size <= self._limit_bytes:
                    return
                if stat.st_nlink == 1:
                    path.unlink(missing_ok=True)
                    used -= stat.st_size

    @contextlib.contextmanager
    def _locked(self, key: str, stop: Stop) -> Iterator[None]:
        with (self._root / "locks" / key).open("w") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if stop.wait(LOCK_POLL_S):
                        raise Stopped from None
            yield

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


def _refuse_page(part: Path, wanted: Wanted, host: str) -> None:
    """Raises FetchFailed for a web page under a model's name: the commonest broken download."""
    with part.open("rb") as file:
        head = file.read(SNIFF_BYTES)
    name = wanted.path.lower()
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html")) and not name.endswith(MARKUP_SUFFIXES):
        part.unlink(missing_ok=True)
        raise FetchFailed(
            f"'{host}' answered with a web page instead of the file for '{wanted.path}'.",
            hint="The link may need a login or a token: pass it as headers, or use a direct download link.",
        )
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
