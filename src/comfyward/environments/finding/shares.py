"""The share that each account has of the questions to the registry: one at a time, and so many classes an hour."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

HOUR_S = 3600.0
CLASSES_AN_HOUR = 300  # ten workflows from elsewhere, each with as many missing classes as are asked for at once
MAX_ACCOUNTS = 10_000


@dataclass
class _Asked:
    """The questions of an account since a time (s)."""

    since: float
    classes: int = 0
    is_asking: bool = False


class Shares:
    """Counts the classes that this server asks for, by account."""

    def __init__(self, an_hour: int = CLASSES_AN_HOUR, clock: Callable[[], float] = time.monotonic) -> None:
        self._an_hour, self._clock = an_hour, clock
        self._asked: dict[str, _Asked] = {}

    @contextmanager
    def question(self, account_id: str, most: int) -> Iterator[int]:
        """The number of classes, of `most`, that an account may ask for while this lasts."""
        asked = self._of(account_id)
        if asked.is_asking:
            yield 0
            return
        allowed = min(most, self._an_hour - asked.classes)
        asked.classes, asked.is_asking = asked.classes + allowed, True
        try:
            yield allowed
        finally:
            asked.is_asking = False

    def _of(self, account_id: str) -> _Asked:
        now = self._clock()
        found = self._asked.get(account_id)
        if found is None or (now - found.since >= HOUR_S and not found.is_asking):
            if len(self._asked) >= MAX_ACCOUNTS:
                self._asked = {key: each for key, each in self._asked.items() if now - each.since < HOUR_S}
            found = self._asked[account_id] = _Asked(now)
        return found
