"""Times as the APIs write them."""

from __future__ import annotations

import datetime

EPOCH = datetime.datetime(1970, 1, 1)


def iso(time_ms: int | None) -> str | None:
    """2025-05-23T15:08:18.297Z, the form of ComfyICU's times; None for no time."""
    if time_ms is None:
        return None
    return (EPOCH + datetime.timedelta(milliseconds=time_ms)).isoformat(timespec="milliseconds") + "Z"
