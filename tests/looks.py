"""Pauses between looks at another process, where there is no signal to wait for."""

from __future__ import annotations

import time
from collections.abc import Iterator

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.01, 0.1


def looks(limit_s: float) -> Iterator[None]:
    """A turn for each look, until the limit. Pauses are a tenth of what was waited, since a look takes processor time
    from what it waits for: polled every 10 ms, a server spent half of its start on its answers."""
    began = time.monotonic()
    while (waited_s := time.monotonic() - began) < limit_s:
        yield
        time.sleep(min(max(FIRST_PAUSE_S, waited_s / 10), LONGEST_PAUSE_S))
