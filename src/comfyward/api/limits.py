"""The largest requests that are read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RequestLimits:
    """In bytes: `body` of JSON, `upload` of a file."""

    body: int
    upload: int
