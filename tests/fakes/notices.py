"""The notices of one of several servers, without a database between them."""

from __future__ import annotations

from comfyward.store.notices import Notice, Notices


class Wire(Notices):
    """Keeps what its server sends, and delivers it to another one, if there is one."""

    def __init__(self, other: Wire | None = None) -> None:
        super().__init__()
        self.sent: list[Notice] = []
        self._other = other

    def send(self, notice: Notice) -> None:
        self.sent.append(notice)
        if self._other is not None:
            self._other.receive(notice)

    def receive(self, notice: Notice) -> None:
        """A notice of another server arrives."""
        self._deliver(notice)

    def lose(self) -> None:
        """Notices may have been lost."""
        self._deliver_loss()

    async def flush(self) -> None:
        return

    async def listen(self) -> None:
        return

    async def close(self) -> None:
        return
