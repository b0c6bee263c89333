"""The limits of what accounts store, and what they store now."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from comfyward.accounts.account import Account
from comfyward.accounts.storage import Quota, Stored, kind_of, over
from comfyward.errors import TooLarge
from comfyward.runs.change import Change, RunEnded
from comfyward.store import accounts, storage
from comfyward.store.db import Database

KNOWN_FOR_S = 10.0  # how long it is known what an account's runs keep: a sum over all of them
REFUSED_FOR_S = 1.0  # the same for an account that is refused: it may have deleted some
REST = 50  # the sum is made again after this many times as long as it took


@dataclass(frozen=True)
class Room:
    """The room for a file of an account: `most` bytes of its kind (0: no limit), of which `used` are in use."""

    kind: str
    used: int
    most: int

    @property
    def left(self) -> float:
        return max(0, self.most - self.used) if self.most else math.inf

    def check(self, size: int) -> None:
        """Raises OverQuota if a file of `size` bytes is too large."""
        if size > self.left:
            raise over(self.kind, self.used, self.most, size)

    @contextmanager
    def within(self, limit: int) -> Iterator[int]:
        """The largest size to receive of a file of at most `limit` bytes. Raises OverQuota instead of TooLarge."""
        left = int(min(self.left, limit))
        try:
            yield left
        except TooLarge as error:
            if left >= limit:
                raise
            raise over(self.kind, self.used, self.most, left + 1) from error


@dataclass(frozen=True)
class _Kept:
    bytes: int
    at_s: float
    took_s: float


class Quotas:
    """`defaults` are those of an account without limits of its own."""

    def __init__(self, db: Database, defaults: Quota) -> None:
        self._db, self._defaults = db, defaults
        self._kept: dict[str, _Kept] = {}

    def of(self, account: Account) -> Quota:
        """The limits of an account."""
        return self._defaults.of(account.role, storage.own_limits(account.storage_limits))

    def default_of(self, account: Account) -> Quota:
        """The limits of an account where it has none of its own."""
        return self._defaults.of(account.role, {})

    async def of_id(self, account_id: str) -> Quota:
        return self.of(await self._db.lookup(accounts.by_id, account_id))

    async def stored(self, account_id: str) -> Stored:
        """All that an account stores."""
        return await self._db.read(storage.stored, account_id)

    def on_changes(self, changes: Sequence[Change]) -> None:
        """Counts what ended runs have produced."""
        for change in changes:
            match change:
                case RunEnded(run):
                    self._count(run.account_id, sum(each.size for each in (*run.outputs, *run.previews)))

    async def room(self, account_id: str, path: str) -> Room:
        """The room for a file of an account. Raises OverQuota if there is none."""
        kind, quota = kind_of(path), await self.of_id(account_id)
        most = getattr(quota, kind)
        used = (await self._db.read(storage.of_files, account_id))[kind] if most else 0
        if most and used >= most:
            raise over(kind, used, most, 0)
        return Room(kind, used, most)

    async def widest_room(self, account_id: str) -> Room:
        """The room for a file of the kind of which an account may store the most now; it may be none."""
        quota, used = await self.of_id(account_id), await self._db.read(storage.of_files, account_id)
        rooms = [Room(kind, used[kind], getattr(quota, kind)) for kind in used]
        return max(rooms, key=lambda room: room.left)

    async def check_runs(self, account: Account, brought: int = 0) -> None:
        """Raises OverQuota if the account's runs keep as much as they may: it may submit no more of them.

        Otherwise the bytes that a new run brings in its request count at once, for the requests beside it.
        """
        most = self.of(account).outputs
        for age_s in (KNOWN_FOR_S, REFUSED_FOR_S):
            if not most:
                return
            if (kept := await self._kept_by_runs(account.id, age_s)) < most:
                return self._count(account.id, brought)
        raise over("outputs", kept, most, 0)

    def _count(self, account_id: str, more: int) -> None:
        """Adds to what is known that the runs of an account keep: an estimate, until the sum is made again."""
        if known := self._kept.get(account_id):
            self._kept[account_id] = replace(known, bytes=known.bytes + more)

    async def _kept_by_runs(self, account_id: str, age_s: float) -> int:
        """The bytes that an account's runs keep, as known for at most some seconds."""
        known, now_s = self._kept.get(account_id), time.monotonic()
        if known is None or now_s - known.at_s > max(age_s, REST * known.took_s):
            kept = await self._db.read(storage.of_runs, account_id)
            known = self._kept[account_id] = _Kept(kept, now_s, time.monotonic() - now_s)
        return known.bytes
