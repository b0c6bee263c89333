"""The one channel by which the rest of the server learns of changes."""

from __future__ import annotations

import logging

from comfyward.runs.change import Change, Subscriber

log = logging.getLogger(__name__)


class Publisher:
    """Passes the changes of committed transactions to its subscribers, one after the other, in the given order.

    Only the server that ran the transaction publishes. Events of other servers reach the hub only, so nothing is
    counted or logged twice.
    """

    def __init__(self, *subscribers: Subscriber) -> None:
        self._subscribers = subscribers

    def publish(self, *changes: Change | None) -> None:
        """Passes on changes; to be called after the commit. None stands for a change that came too late.

        The changes are facts, so if one subscriber fails, the others are still called.
        """
        made = [change for change in changes if change is not None]
        if not made:
            return
        for subscriber in self._subscribers:
            try:
                subscriber(made)
            except Exception:
                log.exception("a subscriber failed", extra={"action": "subscriber_failed"})
