"""Numbers of things in sentences, and suggestions for mistyped names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

SIMILARITY = 0.6


def plural(count: int, one: str, many: str | None = None) -> str:
    """A count with its noun: "1 file", "2 files"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def closest(name: str, known: Iterable[str], similarity: float = SIMILARITY) -> str | None:
    """The known name that is most similar, ignoring case; None if none is similar enough (0 to 1)."""
    by_folded = {each.casefold(): each for each in known}
    found = difflib.get_close_matches(name.casefold(), by_folded, 1, similarity)
    return by_folded[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str], otherwise: str | None = None) -> str | None:
    """A hint that suggests the closest known name, or `otherwise` if none is similar."""
    meant = closest(name, known)
    return otherwise if meant is None else f"Did you mean '{meant}'?"
