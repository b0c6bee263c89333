"""Places of those whom a server keeps waiting, limited by account: event streams, websockets and long polls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from comfyward.errors import TooManyFollowers


class Followers:
    """The taken places at one server, by account. `most` is the number that an account may have; 0 for no limit."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: Counter[str] = Counter()

    @contextmanager
    def place(self, account_id: str) -> Iterator[None]:
        """A place of an account, for as long as the context lasts. Raises TooManyFollowers."""
        if self._most and self._open[account_id] >= self._most:
            raise TooManyFollowers(
                f"You have {self._most:,} event streams, websockets and waiting requests open; no more are allowed.",
                limit=self._most,
            )
        self._open[account_id] += 1
        try:
            yield
        finally:
            self._open[account_id] -= 1
            if not self._open[account_id]:
                del self._open[account_id]
