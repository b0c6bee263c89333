"""Times as the APIs write them."""

from __future__ import annotations

import datetime


def iso(time_ms: int | None) -> str | None:
    """2025-05-23T15:08:18.297Z, the form of ComfyICU's times; None for no time."""
    if time_ms is None:
        return None
    moment = datetime.datetime.fromtimestamp(time_ms / 1000, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time_ms % 1000:03d}Z"
