"""Downloads a file: in parallel ranges, resumed after a break, hashed while it arrives.

The first request asks for the first part. A server that supports ranges answers 206 with the whole length, and the
other parts are fetched beside it. One that does not answers 200, and the file is read as one stream; so is a file
with a Content-Encoding, and one without a strong validator, whose ranges nobody could tell from another file's that has
replaced it meanwhile. A journal beside the `.part` file lists the finished parts, so that a later attempt (of this or
another run) continues from there.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from comfyward import wording
from comfyward.errors import FetchFailed, StorageFull, TooLarge
from comfyward.files.answer import Answer
from comfyward.files.digest import CHUNK_BYTES
from comfyward.files.encoding import EncodingError
from comfyward.files.pace import ANY_SPEED, LeastSpeed
from comfyward.files.part import (
    PART_BYTES,
    Fetched,
    Journal,
    PartFile,
    Progress,
    Validators,
    discard_unfinished,
    disk_error,
)
from comfyward.files.remote_file import RemoteFile, Retry

STEP_BYTES = 128 << 20


@dataclass(frozen=True)
class Limits:
    """The largest file, the longest download, the number of parallel connections, and the least speed of all."""

    bytes: int
    seconds: float
    connections: int = 8
    least_speed: LeastSpeed = ANY_SPEED


class Room:
    """Room for a download, made in steps as its bytes arrive: what a server announces takes none."""

    def __init__(self, make: Callable[[int], None], limit_bytes: int) -> None:
        """`make(size)` makes room for more bytes; `limit_bytes` is the size of the place."""
        self._make, self._limit_bytes = make, limit_bytes
        self._step = max(1, min(STEP_BYTES, limit_bytes // 64))
        self._made = self._used = 0
        self._counting = threading.Lock()

    def check(self, total: int) -> None:
        """Raises StorageFull for a file that can never fit."""
        if total > self._limit_bytes:
            raise StorageFull(f"A file of {total} bytes does not fit: the cache has {self._limit_bytes} bytes for it.")

    def use(self, size: int) -> None:
        """Counts bytes that are about to be written. Raises StorageFull."""
        with self._counting:
            self._used += size
            if self._used > self._made:
                step = max(self._step, self._used - self._made)
                self._make(step)
                self._made += step


class Fetch:
    """One download to `target`."""

    def __init__(
        self,
        remote: RemoteFile,
        target: Path,
        limits: Limits,
        *,
        progress: Progress = lambda done, total: None,
        room: Room | None = None,
    ) -> None:
        """`progress(done, total)` is called from the download's threads."""
        self._remote, self._target, self._limits = remote, target, limits
        self._progress, self._room = progress, room or Room(lambda size: None, limits.bytes)

    def run(self, known: Validators | None = None) -> Fetched | None:
        """The finished file, or None if the server says that it has not changed since `known`.

        Raises FetchFailed, FetchRefused, HostBusy, HostSlow, TooLarge, StorageFull or Stopped; finished parts are kept.
        """
        known = known or Validators()
        try:
            return self._remote.retrying(lambda: self._run_once(known))
        except Retry as retry:
            raise retry.error from retry
        finally:
            discard_unfinished(self._target)

    def _run_once(self, known: Validators) -> Fetched | None:
        journal = Journal.load(self._target)
        with self._remote.open(_first_headers(known)) as answer:
            if answer.status == 304:
                return None
            if _is_whole(answer) or answer.validators.strong:
                return self._receive(answer, journal)
        with self._remote.open({}, answer.address) as whole:
            return self._receive(whole, journal)

    def _receive(self, answer: Answer, journal: Journal | None) -> Fetched:
        total = answer.total
        if total is not None and total > self._limits.bytes:
            raise TooLarge(
                f"The file at '{self._remote.host}' has {total} bytes, over the limit of {self._limits.bytes}."
            )
        if journal is None or not journal.continues(total, answer.validators):
            journal = Journal(total, answer.validators, set())
            self._target.unlink(missing_ok=True)
        try:
            self._room.check(total or 0)
            with PartFile.opened(self._target, journal, self._progress) as file:
                self._transfer(answer, file)
                return file.finish()
        except OSError as error:
            raise disk_error(error) from error

    def _transfer(self, answer: Answer, file: PartFile) -> None:
        if answer.status != 206 or answer.total is None:
            self._read_stream(answer, file)
            return
        missing = file.missing_parts()
        if 0 not in missing:
            answer.close()
        if missing:
            self._read_parts(answer, file, missing)

    def _read_parts(self, first: Answer, file: PartFile, missing: list[int]) -> None:
        connections = min(self._limits.connections, len(missing))
        queue, lock = list(reversed(missing)), threading.Lock()
        broken = threading.Event()

        def worker() -> None:
            while not broken.is_set():
                with lock:
                    if not queue:
                        return
                    part = queue.pop()
                try:
                    self._fetch_part(first, file, part)
                except BaseException:
                    broken.set()
                    raise

        with ThreadPoolExecutor(connections, thread_name_prefix="fetch") as pool:
            for future in [pool.submit(worker) for _ in range(connections)]:
                future.result()

    def _fetch_part(self, first: Answer, file: PartFile, part: int) -> None:
        unread = [first] if part == 0 else []

        def fetch() -> None:
            with unread.pop() if unread else self._open_part(first, *file.bounds(part)) as answer:
                self._read_part(answer, file, part)

        self._remote.retrying(fetch)

    def _open_part(self, first: Answer, start: int, end: int) -> Answer:
        """The answer with a range of the file that the first answer began. Raises Retry if that has changed."""
        headers = {"Range": f"bytes={start}-{end - 1}"}
        if first.validators.strong:
            headers["If-Range"] = first.validators.strong
        answer = self._remote.open(headers, first.address)
        if answer.status != 206 or answer.start != start or _differs(answer, first):
            answer.close()
            raise Retry(FetchFailed(f"The file at '{self._remote.host}' changed during the download."))
        return answer

    def _read_part(self, answer: Answer, file: PartFile, part: int) -> None:
        start, end = file.bounds(part)
        self._copy(answer, file, start, end - start)
        file.part_done(part)

    def _read_stream(self, answer: Answer, file: PartFile) -> None:
        file.stream_done(self._copy(answer, file, 0, answer.total, file.streamed_to))

    def _copy(
        self,
        answer: Answer,
        file: PartFile,
        offset: int,
        length: int | None,
        reached: Callable[[int], None] = lambda offset: None,
    ) -> int:
        """Writes the body at `offset` and returns its size. `length` is the expected size, None if unknown."""
        host, limit_bytes = self._remote.host, self._limits.bytes
        buffer = memoryview(bytearray(CHUNK_BYTES))
        done = 0
        while length is None or done < length:
            want = CHUNK_BYTES if length is None else min(CHUNK_BYTES, length - done)
            count = self._read(answer, buffer[:want])
            if count == 0:
                break
            if offset + done + count > limit_bytes:
                raise TooLarge(f"The file at '{host}' is larger than {wording.size(limit_bytes)}.")
            self._room.use(count)
            file.write(buffer[:count], offset + done)
            done += count
            reached(offset + done)
        if length is not None and done < length:
            raise Retry(FetchFailed(f"The download from '{host}' ended after {done} of {length} bytes."))
        return done

    def _read(self, answer: Answer, buffer: memoryview) -> int:
        remote = self._remote
        remote.check()
        try:
            with remote.interruptible(answer.socket):
                return answer.readinto(buffer)
        except (OSError, EOFError, http.client.HTTPException) as error:
            remote.check()
            reason = str(error) or "it ended too early"
            raise Retry(FetchFailed(f"The download from '{remote.host}' broke off: {reason}.")) from error
        except EncodingError as error:
            raise FetchFailed(f"'{remote.host}' sent a body that cannot be decoded: {error}.") from error


def _is_whole(answer: Answer) -> bool:
    """True if no other answer is needed."""
    return not answer.is_part or answer.total is None or answer.total <= PART_BYTES


def _differs(answer: Answer, first: Answer) -> bool:
    """True if the answers are of different files: some hosts ignore If-Range."""
    return answer.total != first.total or answer.validators.contradict(first.validators)


def _first_headers(known: Validators) -> dict[str, str]:
    headers = {"Range": f"bytes=0-{PART_BYTES - 1}"}
    if known.etag:
        headers["If-None-Match"] = known.etag
    elif known.last_modified:
        headers["If-Modified-Since"] = known.last_modified
    return headers
