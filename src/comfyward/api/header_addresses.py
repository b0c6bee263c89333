"""Addresses in headers, which anybody may have written."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

NONE = SplitResult("", "", "", "", "")


def parts_of(address: str | None) -> SplitResult:
    """The parts of an address; empty ones for a text that is none."""
    try:
        return urlsplit(address or "")
    except ValueError:  # such as a bracket that no address of IPv6 follows
        return NONE
