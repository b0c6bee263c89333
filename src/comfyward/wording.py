"""Numbers of things and sizes in sentences, and suggestions for mistyped names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

SIMILARITY = 0.6
_UNITS = ("B", "KB", "MB", "GB", "TB")
_SIZE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,18})?)\s*([KMGT]?)B?", re.IGNORECASE)


def plural(count: int, one: str, many: str | None = None) -> str:
    """A count with its noun: "1 file", "2 files"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def size(count: float) -> str:
    """A number of bytes: "12.3 MB"."""
    unit = 0
    while count >= 1000 and unit < len(_UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.0f} {_UNITS[unit]}" if unit == 0 or count >= 100 else f"{count:.1f} {_UNITS[unit]}"


def exact_size(count: int) -> str:
    """A number of bytes that `bytes_in` reads as the same: "500 GB", "1234 B"."""
    unit = 0
    while count and count % 1000 == 0 and unit < len(_UNITS) - 1:
        count, unit = count // 1000, unit + 1
    return f"{count} {_UNITS[unit]}"


def bytes_in(text: str) -> int | None:
    """The bytes of a size such as 500G or 1.5 TB, in units of 1000; None for any other text."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        return None
    number, unit = match.groups()
    thousands: int = 1000 ** _UNITS.index(f"{unit.upper()}B")
    return round(float(number) * thousands) if "." in number else int(number) * thousands


def closest(name: str, known: Iterable[str], similarity: float = SIMILARITY) -> str | None:
    """The known name that is most similar, ignoring case; None if none is similar enough (0 to 1)."""
    by_folded = {each.casefold(): each for each in known}
    found = difflib.get_close_matches(name.casefold(), by_folded, 1, similarity)
    return by_folded[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str], otherwise: str | None = None) -> str | None:
    """A hint that suggests the closest known name, or `otherwise` if none is similar."""
    meant = closest(name, known)
    return otherwise if meant is None else f"Did you mean '{meant}'?"
