"""The one channel for what follows a change of a run."""

from __future__ import annotations

import logging

from comfyward.runs.change import Change, Subscriber

log = logging.getLogger(__name__)


class Publisher:
    """Tells its subscribers, one after the other in the order given, what committed transactions have done to runs.

    The server whose transaction it was publishes, and no other: what servers tell each other reaches followers only, so
    nothing is counted or logged twice.
    """

    def __init__(self, *subscribers: Subscriber) -> None:
        self._subscribers = subscribers

    def publish(self, *changes: Change | None) -> None:
        """Call it once the transaction is committed. None stands for a change that came too late to be made.

        The change is a fact, so a subscriber that fails keeps nobody else from hearing of it.
        """
        made = [change for change in changes if change is not None]
        if not made:
            return
        for subscriber in self._subscribers:
            try:
                subscriber(made)
            except Exception:
                log.exception("a subscriber failed", extra={"action": "subscriber_failed"})
