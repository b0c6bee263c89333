"""The host's memory for models: which files its workers keep in memory, within one limit for all of them.

    memory/held.json    the files, in the folder of the host's cache, read and written under a lock

A claim holds a file there for a time: that of a run that comes soon, or a pin, which its worker renews. Files without a
claim stay until their room is needed, those used last the longest. A file counts with all its bytes, however many of
them the kernel has left in memory.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from comfyward.files import page_cache

MEASURED_EVERY_S = 20.0
FORGOTTEN_AFTER_S = 24 * 3600.0
MOST_FILES = 200


class NoRoom(Exception):
    """The file does not fit beside those that are claimed. `left` bytes of the limit are free, or can be made so."""

    def __init__(self, size: int, left: int, limit: int) -> None:
        super().__init__(f"{size} bytes do not fit: {left} of {limit} are left")
        self.size, self.left, self.limit = size, left, limit


class ModelFile(msgspec.Struct, frozen=True):
    """A model's file on this host.

    `name` is what runs call it: its digest, or its name in a graph for one in the operator's folders. `path` is where
    its run sees it, below /models.
    """

    name: str
    path: str
    file: str

    @property
    def place(self) -> Path:
        return Path(self.file)


class Held(msgspec.Struct, frozen=True):
    """A file that is kept in memory; times in seconds since the epoch.

    `claims` and `pins` are, by worker, the times until which it is claimed. `resident` are the bytes that were in
    memory when that was last measured, `since` is when all of them were there first (0: they never were).
    """

    model: ModelFile
    size: int
    used_at: float
    resident: int = 0
    since: float = 0.0
    claims: dict[str, float] = {}
    pins: dict[str, float] = {}

    @property
    def is_whole(self) -> bool:
        return self.resident >= self.size

    def claimed(self, now: float) -> bool:
        return any(until > now for until in (*self.claims.values(), *self.pins.values()))

    def pinned(self, now: float) -> bool:
        return any(until > now for until in self.pins.values())


class _State(msgspec.Struct):
    held: dict[str, Held] = {}  # by the file's device and inode: all links of a file are one
    measured_at: float = 0.0


class ModelMemory:
    """The memory for models of one host. Calls block: they are made from threads, in any number of its processes.

    `limit_bytes` is 0 if none is kept.
    """

    def __init__(self, root: Path, limit_bytes: int) -> None:
        self._root, self.limit_bytes = root / "memory", limit_bytes
        self._root.mkdir(parents=True, exist_ok=True)

    def claim(self, model: ModelFile, worker_id: str, seconds: float, *, is_pin: bool = False) -> None:
        """Keeps room for a file for a time, and lets go what was used longest ago. Raises NoRoom, OSError."""
        status, now = model.place.stat(), time.time()
        key = f"{status.st_dev}:{status.st_ino}"
        with self._locked() as state:
            before = state.held.get(key)
            if before is None:
                self._make_room(state, status.st_size, now)
                before = Held(model, status.st_size, now)
            until = {worker_id: now + seconds}
            claims = before.claims if is_pin else {**before.claims, **until}
            pins = {**before.pins, **until} if is_pin else before.pins
            state.held[key] = msgspec.structs.replace(before, model=model, used_at=now, claims=claims, pins=pins)

    def release(self, worker_id: str, pins: Sequence[ModelFile] = ()) -> None:
        """Ends a worker's pins, except those of some files."""
        kept = {model.file for model in pins}
        with self._locked() as state:
            for key, held in state.held.items():
                if worker_id in held.pins and held.model.file not in kept:
                    left = {name: until for name, until in held.pins.items() if name != worker_id}
                    state.held[key] = msgspec.structs.replace(held, pins=left)

    def measured(self, model: ModelFile) -> int:
        """The bytes of a claimed file that are in memory, measured now. Raises OSError."""
        resident = self._resident(model)
        with self._locked() as state:
            self._note(state, {model.file: resident})
        return resident

    def arrived(self, model: ModelFile) -> None:
        """Notes that a claimed file was read into memory to its end."""
        size = model.place.stat().st_size
        with self._locked() as state:
            self._note(state, {model.file: size})

    def held(self) -> list[Held]:
        """The files that this host's workers keep in memory, by path; measured by one of them every few seconds."""
        with self._locked() as state:
            is_due = time.time() - state.measured_at > MEASURED_EVERY_S
            if is_due:
                state.measured_at = time.time()
            known = list(state.held.values())
        if is_due:
            resident = {held.model.file: self._resident(held.model) for held in known if held.model.place.exists()}
            with self._locked() as state:
                self._note(state, resident)
                known = list(state.held.values())
        return sorted(known, key=lambda held: held.model.path)

    @contextlib.contextmanager
    def reading(self) -> Iterator[bool]:
        """True in the block if no other worker of this host reads a model: one at a time, so that a disk is not torn
        between several."""
        with (self._root / "reading").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    def _make_room(self, state: _State, size: int, now: float) -> None:
        taken = sum(held.size for held in state.held.values())
        free = [(key, held) for key, held in state.held.items() if not held.claimed(now)]
        left = self.limit_bytes - taken + sum(held.size for _, held in free)
        if size > left or len(state.held) - len(free) >= MOST_FILES:
            raise NoRoom(size, max(0, left), self.limit_bytes)
        for key, held in sorted(free, key=lambda each: each[1].used_at):
            too_much = taken + size > self.limit_bytes
            if too_much or len(state.held) >= MOST_FILES or now - held.used_at > FORGOTTEN_AFTER_S:
                del state.held[key]
                taken -= held.size
                if too_much:
                    with contextlib.suppress(OSError):
                        page_cache.let_go(held.model.place)

    def _resident(self, model: ModelFile) -> int:
        """The bytes in memory; what another process has noted, where the kernel does not tell."""
        resident = page_cache.resident_bytes(model.place)
        if resident is not None:
            return resident
        with self._locked() as state:
            return next((held.resident for held in state.held.values() if held.model.file == model.file), 0)

    def _note(self, state: _State, resident: dict[str, int]) -> None:
        now = time.time()
        for key, held in list(state.held.items()):
            if (found := resident.get(held.model.file)) is not None:
                since = (held.since or now) if found >= held.size else 0.0
                state.held[key] = msgspec.structs.replace(held, resident=found, since=since)
            elif not held.claimed(now) and not held.model.place.exists():
                del state.held[key]

    @contextlib.contextmanager
    def _locked(self) -> Iterator[_State]:
        path = self._root / "held.json"
        with (self._root / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                before = path.read_bytes()
                state = msgspec.json.decode(before, type=_State)
            except (OSError, msgspec.MsgspecError):  # the first time, or of another version
                before, state = b"", _State()
            yield state
            after = msgspec.json.encode(state)
            if after != before:
                fresh = path.with_suffix(".new")
                fresh.write_bytes(after)
                os.replace(fresh, path)
