"""What servers on one database tell each other: short texts, quickly, heard by all who listen at that moment.

A notice is a hint, never the only carrier of a fact: what must not be lost is a row, and whoever waits for a row also
looks from time to time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

# Called on the event loop with each notice of another server; never with this server's own.
Heard = Callable[[str], None]


class Notices(ABC):
    """Sends and receives notices."""

    @abstractmethod
    def tell(self, text: str) -> None:
        """Sends a notice soon; returns at once. Called on the event loop's thread."""

    @abstractmethod
    async def listen(self, heard: Heard, missed: Callable[[], None]) -> None:
        """Begins to receive. `missed` is called when some may have been lost: look at the rows."""

    @abstractmethod
    async def close(self) -> None:
        """Sends what waits, then stops."""
