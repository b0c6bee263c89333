"""Times as the APIs write them."""

from __future__ import annotations

import datetime

LENGTH_TO_SECONDS = len("2025-05-23T15:08:18")


def iso(time_ms: int | None) -> str | None:
    """2025-05-23T15:08:18.297Z, the form of ComfyICU's times; None for no time."""
    if time_ms is None:
        return None
    moment = datetime.datetime.fromtimestamp(time_ms // 1000, datetime.UTC)
    return f"{moment.isoformat()[:LENGTH_TO_SECONDS]}.{time_ms % 1000:03d}Z"
