"""Whole numbers in addresses, headers and forms."""

from __future__ import annotations

LARGEST = 10**18 - 1  # fits every integer column


def whole_number(text: str, *, least: int = 0, most: int = LARGEST) -> int | None:
    """The number of a text of decimal digits; None for any other text, and for a number outside these bounds."""
    if not text.isascii() or not text.isdecimal():
        return None
    digits = text.lstrip("0") or "0"
    if len(digits) > len(str(most)):  # Python reads no number of thousands of digits
        return None
    number = int(digits)
    return number if least <= number <= most else None
