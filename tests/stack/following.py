"""Runs that begin once somebody follows them: of what they tell only those who listen, nothing is missed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from tests.stack.stack import Client


def followed(client: Client, run_id: str, begins: threading.Event) -> Iterator[tuple[str, dict[str, Any], int | None]]:
    """All events of a run that waits for a file, whose server waits for `begins`: it is set once they are followed."""
    events = client.events(run_id)
    yield next(events)
    begins.set()
    yield from events
