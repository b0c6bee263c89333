"""Those who wait until somebody may have lost their access, by account."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Watches:
    """Each watch is an event that is set when keys, sessions or the state of its account may have changed."""

    def __init__(self) -> None:
        self._of: dict[str, set[asyncio.Event]] = {}

    @contextmanager
    def watch(self, account_id: str) -> Iterator[asyncio.Event]:
        changed = asyncio.Event()
        self._of.setdefault(account_id, set()).add(changed)
        try:
            yield changed
        finally:
            self._of[account_id].discard(changed)
            if not self._of[account_id]:
                del self._of[account_id]

    def wake(self, account_id: str) -> None:
        for changed in self._of.get(account_id, ()):
            changed.set()

    def wake_all(self) -> None:
        for account_id in self._of:
            self.wake(account_id)
